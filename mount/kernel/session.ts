import { randomBytes } from 'node:crypto';
import { errnoOf, StillError } from '../../src/errors.js';
import type { Logger } from '../../src/log.js';
import type { Name } from '../../src/name.js';
import type { Change, Tree } from '../../src/tree/tree.js';
import { Complaints } from '../complaints.js';
import { Forest, type Node } from '../forest/forest.js';
import type { NodeNumber } from '../forest/node-number.js';
import { BackingFiles } from './backing-files.js';
import type { Device } from './device.js';
import { OpenFiles, OpenFolders } from './open-handles.js';
import type { Answer, MountState, Operation } from './operation.js';
import { closeAll, fileOperations } from './operations/files.js';
import { folderOperations } from './operations/folders.js';
import { nodeOperations } from './operations/nodes.js';
import { refusedOperations } from './operations/refused.js';
import { negotiate, type Session } from './protocol/init.js';
import { invalidEntry, invalidInode } from './protocol/notification.js';
import { Opcode, opcodeName } from './protocol/opcode.js';
import { replyWith, seal } from './protocol/reply.js';
import {
  nameIn,
  parseBatchForget,
  parseForget,
  parseInit,
  parseInterrupt,
  type Request,
} from './protocol/request.js';
import { mostKnownNodes, Pruning } from './pruning.js';
import { ReadBuffers } from './read-buffers.js';
import { StoredContents } from './stored-contents.js';

const operations = new Map<number, Operation>([
  ...nodeOperations,
  ...folderOperations,
  ...fileOperations,
  ...refusedOperations,
]);

/**
 * How long a request whose caller got a signal goes on, in milliseconds. Most end before, and their callers never
 * learn of it: programs that get signals all the time (profilers, runtimes) don't expect EINTR of a file. The kernel
 * does not tell whether the signal is a fatal one.
 */
const patience = 300;

/** Who interrupts a mkdir wants no folder: one that were made all the same would be found by nobody. */
const patienceOf = (opcode: number): number => (opcode === Opcode.MKDIR ? 0 : patience);

/** Nobody waits for what follows these, and so nobody interrupts them: they need no controller, which costs more than they do. */
const prompt: ReadonlySet<number> = new Set([Opcode.RELEASE, Opcode.RELEASEDIR]);
const never = new AbortController().signal;

interface UnderWay {
  readonly abort: AbortController;
  /** Milliseconds that it goes on when its caller was interrupted. */
  readonly patience: number;
  /** Set once the caller was interrupted. */
  interrupted: NodeJS.Timeout | undefined;
}

export interface SessionOptions {
  readonly log: Logger;
  readonly readOnly: boolean;
  /** How many nodes the kernel may know before it is asked to forget some. */
  readonly mostKnownNodes?: number;
}

/** One mount's conversation with the kernel, from INIT to its end. */
export class KernelSession {
  readonly #device: Device;
  readonly #log: Logger;
  readonly #readOnly: boolean;
  readonly #forest: Forest;
  readonly #underWay = new Map<number, UnderWay>();
  readonly #complaints: Complaints;
  readonly #mostKnownNodes: number;
  #state: MountState | undefined;
  #pruning: Pruning | undefined;
  #agreed: (session: Session) => void = () => undefined;
  /** Settles when both sides have agreed on how to speak. */
  readonly agreed: Promise<Session>;

  constructor(device: Device, tree: Tree, options: SessionOptions) {
    this.#device = device;
    this.#log = options.log;
    this.#complaints = new Complaints(options.log);
    this.#readOnly = options.readOnly;
    this.#mostKnownNodes = options.mostKnownNodes ?? mostKnownNodes;
    this.#forest = new Forest(tree, (node, change) => this.#tellOfChange(node, change));
    this.agreed = new Promise((resolve) => {
      this.#agreed = resolve;
    });
  }

  /** Serves until the mount has ended. Rejects when the device fails. */
  async serve(): Promise<void> {
    let refusal: unknown;
    try {
      await this.#device.serve((request) => {
        try {
          this.#receive(request);
        } catch (error) {
          // Only INIT throws here: without an agreement there is no mount.
          refusal = error;
          this.#device.send(seal(replyWith(0), request.unique, errnoOf(error)));
          this.#device.close();
        }
      });
    } finally {
      this.#abortAll(new StillError('ECONNABORTED', 'the mount has ended'));
      if (this.#state) await closeAll(this.#state);
      this.#forest.close();
    }
    if (refusal !== undefined) throw refusal;
  }

  /** How many requests, nodes, trees and handles there are at present. */
  counts(): { requests: number; nodes: number; trees: number; files: number; folders: number } {
    return {
      requests: this.#underWay.size,
      nodes: this.#forest.knownNodes,
      trees: this.#forest.livingTrees,
      files: this.#state?.files.size ?? 0,
      folders: this.#state?.folders.size ?? 0,
    };
  }

  #receive(request: Request): void {
    const { body, unique } = request;
    switch (request.opcode) {
      case Opcode.INIT:
        this.#initialise(request);
        return;
      case Opcode.FORGET:
        this.#forest.forget(request.nodeid, parseForget(body));
        return;
      case Opcode.BATCH_FORGET:
        for (const { nodeid, lookups } of parseBatchForget(body)) this.#forest.forget(nodeid, lookups);
        return;
      case Opcode.INTERRUPT:
        this.#interrupt(unique, parseInterrupt(body));
        return;
      case Opcode.DESTROY:
        this.#device.send(seal(replyWith(0), unique));
        return;
      default:
        this.#begin(request);
    }
  }

  #initialise(request: Request): void {
    const isRoot = process.geteuid?.() === 0;
    const answer = negotiate(parseInit(request.body), {
      passthrough: isRoot,
      readaheadBytes: 4 * 1024 * 1024,
    });
    if ('session' in answer) {
      this.#state = {
        forest: this.#forest,
        files: new OpenFiles(),
        folders: new OpenFolders(),
        session: answer.session,
        backing: answer.session.passthrough ? new BackingFiles(this.#device.descriptor) : undefined,
        buffers: new ReadBuffers(),
        stored: new StoredContents(this.#device, this.#log),
        readOnly: this.#readOnly,
        generation: BigInt(randomBytes(4).readUInt32LE(0)),
        log: this.#log,
      };
      const { files } = this.#state;
      this.#pruning = new Pruning(this.#device, this.#forest, files, this.#log, this.#mostKnownNodes);
    }
    this.#device.send(seal(answer.reply, request.unique));
    if ('session' in answer) this.#agreed(answer.session);
  }

  /** Begins to answer a request. Whatever happens, the kernel gets exactly one reply. */
  #begin(request: Request): void {
    const operation = operations.get(request.opcode);
    const state = this.#state;
    if (!operation || !state) {
      this.#device.send(seal(replyWith(0), request.unique, errnoOf(new StillError('ENOSYS', 'not served'))));
      return;
    }
    if (prompt.has(request.opcode)) {
      void this.#settle(request, undefined, operation, state, never);
      return;
    }
    const abort = new AbortController();
    const underWay: UnderWay = { abort, patience: patienceOf(request.opcode), interrupted: undefined };
    this.#underWay.set(request.unique, underWay);
    // Taken now, for the log: the body does not outlast the first wait.
    const name = nameIn(request);
    void this.#settle(request, name, operation, state, abort.signal).finally(() => {
      clearTimeout(underWay.interrupted);
      this.#underWay.delete(request.unique);
    });
  }

  /** Answers a request and sends the reply. Does not reject. */
  async #settle(
    request: Request,
    name: Name | undefined,
    operation: Operation,
    state: MountState,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const answer = await this.#answer(operation, state, request, signal).catch((error: unknown) => {
        this.#fail(request, name, error);
      });
      if (answer) this.#reply(request, answer);
      this.#pruning?.check();
    } catch (error) {
      this.#log.error({ error }, `the reply to ${opcodeName(request.opcode)} could not be written`);
    }
  }

  async #answer(
    operation: Operation,
    state: MountState,
    request: Request,
    signal: AbortSignal,
  ): Promise<Answer> {
    const known = this.#forest.known(request.nodeid);
    if (known) return operation(state, known, request.body, signal);
    // Only for an NFS server, whose handles outlive what the kernel remembers.
    const body = Buffer.from(request.body);
    const { node, giveBack } = await this.#forest.borrow(request.nodeid, signal);
    try {
      return await operation(state, node, body, signal);
    } finally {
      giveBack();
    }
  }

  #reply(request: Request, answer: Answer): void {
    if (Buffer.isBuffer(answer)) {
      this.#device.send(seal(answer, request.unique));
      return;
    }
    answer.before?.();
    if (this.#device.send(seal(answer.message, request.unique))) answer.delivered?.();
    else answer.undelivered?.();
  }

  #fail(request: Request, name: Name | undefined, error: unknown): void {
    this.#device.send(seal(replyWith(0), request.unique, errnoOf(error)));
    this.#complaints.failed(opcodeName(request.opcode), () => this.#pathOf(request.nodeid, name), error);
  }

  #pathOf(number: NodeNumber, name: Name | undefined): string {
    const node = this.#forest.known(number);
    return node ? this.#forest.pathOf(node, name) : `node ${number}`;
  }

  #interrupt(unique: number, interrupted: number): void {
    const underWay = this.#underWay.get(interrupted);
    if (underWay) {
      underWay.interrupted ??= setTimeout(() => {
        underWay.abort.abort(new StillError('EINTR', 'the caller was interrupted'));
      }, underWay.patience);
      return;
    }
    // Either it was answered already, or another reader has it in hand: the kernel asks again if it still waits.
    this.#device.send(seal(replyWith(0), unique, errnoOf(new StillError('EAGAIN', 'not yet seen'))));
  }

  #abortAll(reason: StillError): void {
    for (const { abort } of this.#underWay.values()) abort.abort(reason);
  }

  #tellOfChange(node: Node, change: Change): void {
    const messages = [invalidInode(node.number)];
    if (change.kind === 'entry') messages.unshift(invalidEntry(node.number, change.name));
    for (const message of messages) {
      this.#device.notify(message).catch((error: unknown) => {
        this.#log.warn({ error }, `the kernel could not be told that ${this.#forest.pathOf(node)} changed`);
      });
    }
  }
}

import { errnoOf, hasCode, messageOf, StillError } from '../../src/errors.js';
import type { Logger } from '../../src/log.js';
import type { Tree } from '../../src/tree/tree.js';
import { Complaints } from '../complaints.js';
import { Forest } from '../forest/forest.js';
import type { Operations } from './native-operations.js';
import { OpenFiles } from './open-files.js';
import { closeFile, openFile, readFile, syncFile, truncateFile, writeFile } from './operations/files.js';
import { listFolder, makeFolder, removeFolder } from './operations/folders.js';
import { attributesAt, capacityAt, linkTarget, xattrAt, xattrNamesAt } from './operations/nodes.js';
import type { PathMount } from './path-mount.js';
import { PathNodes } from './path-nodes.js';
import { statWords } from './stat-words.js';
import { UnderWay } from './under-way.js';

/** How long an operation may take, in milliseconds: a caller can't be interrupted meanwhile, not even by a kill. */
export interface Limits {
  readonly usual: number;
  /** Of what changes something: a tree's own deadline (a snapshot's is a minute) comes first. */
  readonly changing: number;
}

const defaultLimits: Limits = { usual: 15_000, changing: 90_000 };

/** What a session may be told. */
export interface SessionOptions {
  readonly log: Logger;
  readonly readOnly: boolean;
  readonly limits?: Limits;
  /** How many names are kept. */
  readonly names?: number;
}

/** What libfuse asks, and how it is told that it failed. */
interface Asked {
  readonly operation: keyof Operations;
  readonly path: string;
  readonly failed: (result: number) => void;
}

/** One mount's conversation with libfuse: what it asks of paths is answered from a forest. */
export class PathSession {
  readonly #mount: PathMount;
  readonly #underWay = new UnderWay();
  readonly #log: Logger;
  readonly #limits: Limits;

  constructor(tree: Tree, options: SessionOptions) {
    const { log, readOnly } = options;
    this.#log = log;
    this.#limits = options.limits ?? defaultLimits;
    const forest = new Forest(tree, (node, change) => {
      if (change.kind === 'entry') paths.changed(node, change.name);
    });
    const paths = new PathNodes(forest, options.names);
    this.#mount = { forest, paths, files: new OpenFiles(), readOnly, complaints: new Complaints(log) };
  }

  /** How many operations, nodes, names, trees and open files there are at present. */
  counts(): { requests: number; nodes: number; names: number; trees: number; files: number } {
    const { forest, paths, files } = this.#mount;
    return {
      requests: this.#underWay.size,
      nodes: forest.knownNodes,
      names: paths.size,
      trees: forest.livingTrees,
      files: files.size,
    };
  }

  /** Ends what is under way, closes what is open, forgets all names. Operations that come now are refused. */
  async close(): Promise<void> {
    const { forest, paths, files } = this.#mount;
    this.#underWay.end(new StillError('ECONNABORTED', 'the mount has ended'));
    const closing = await Promise.allSettled(files.removeAll().map(closeFile));
    for (const result of closing) {
      if (result.status === 'rejected')
        this.#log.warn({ error: result.reason as unknown }, 'closing a file failed');
    }
    paths.clear();
    forest.close();
  }

  /** The operations as the package is to call them. */
  operations(): Operations {
    const mount = this.#mount;
    return {
      getattr: (path, done) =>
        this.#look(
          { operation: 'getattr', path, failed: done },
          (signal) => attributesAt(mount, path, signal),
          (attributes) => done(0, statWords(attributes)),
        ),
      fgetattr: (path, number, done) =>
        this.#look(
          { operation: 'fgetattr', path, failed: done },
          (signal) =>
            number === 0
              ? attributesAt(mount, path, signal)
              : mount.forest.attributes(mount.files.get(number).node, signal),
          (attributes) => done(0, statWords(attributes)),
        ),
      readlink: (path, done) =>
        this.#look(
          { operation: 'readlink', path, failed: done },
          (signal) => linkTarget(mount, path, signal),
          (target) => done(0, target),
        ),
      readdir: (path, done) =>
        this.#look(
          { operation: 'readdir', path, failed: done },
          (signal) => listFolder(mount, path, signal),
          (rows) => done(0, rows),
        ),
      getxattr: (path, name, room, done) =>
        this.#look(
          { operation: 'getxattr', path, failed: done },
          (signal) => xattrAt(mount, path, name, room, signal),
          (value) => done(value.length, value),
        ),
      listxattr: (path, room, done) =>
        this.#look(
          { operation: 'listxattr', path, failed: done },
          (signal) => xattrNamesAt(mount, path, room, signal),
          (names) => done(names.length, names),
        ),
      statfs: (path, done) =>
        this.#look(
          { operation: 'statfs', path, failed: done },
          (signal) => capacityAt(mount, path, signal),
          (capacity) => done(0, capacity),
        ),
      open: (path, flags, done) =>
        this.#look(
          { operation: 'open', path, failed: done },
          (signal) => openFile(mount, path, flags, signal),
          (number) => done(0, number),
        ),
      read: (path, number, target, length, offset, done) =>
        this.#look(
          { operation: 'read', path, failed: done },
          (signal) => readFile(mount, path, { number, offset, length }, signal),
          (bytes) => {
            target.set(bytes);
            done(bytes.length);
          },
        ),
      release: (path, number, done) =>
        this.#look(
          { operation: 'release', path, failed: done },
          () => closeFile(mount.files.remove(number)),
          () => done(0),
        ),
      write: (path, number, bytes, length, offset, done) => {
        // libfuse takes its memory back at the answer, which may come before the tree is done with the bytes.
        const copy = new Uint8Array(bytes.subarray(0, length));
        this.#change(
          { operation: 'write', path, failed: done },
          (signal) => writeFile(mount, path, number, offset, copy, signal),
          () => done(length),
        );
      },
      fsync: (path, _dataOnly, number, done) =>
        this.#change(
          { operation: 'fsync', path, failed: done },
          (signal) => syncFile(mount, number, signal),
          () => done(0),
        ),
      truncate: (path, size, done) =>
        this.#change(
          { operation: 'truncate', path, failed: done },
          (signal) => mount.paths.use(path, signal, (node) => truncateFile(mount, path, node, size, signal)),
          () => done(0),
        ),
      ftruncate: (path, number, size, done) =>
        this.#change(
          { operation: 'ftruncate', path, failed: done },
          (signal) => truncateFile(mount, path, mount.files.get(number).node, size, signal),
          () => done(0),
        ),
      mkdir: (path, mode, done) =>
        this.#change(
          { operation: 'mkdir', path, failed: done },
          (signal) => makeFolder(mount, path, mode, signal),
          () => done(0),
        ),
      rmdir: (path, done) =>
        this.#change(
          { operation: 'rmdir', path, failed: done },
          (signal) => removeFolder(mount, path, signal),
          () => done(0),
        ),
    };
  }

  #look<T>(asked: Asked, work: (signal: AbortSignal) => Promise<T>, succeed: (value: T) => void): void {
    this.#answer(asked, this.#limits.usual, work, succeed);
  }

  #change<T>(asked: Asked, work: (signal: AbortSignal) => Promise<T>, succeed: (value: T) => void): void {
    this.#answer(asked, this.#limits.changing, work, succeed);
  }

  /** Begins an operation. Whatever happens, libfuse gets exactly one answer. */
  #answer<T>(
    { operation, path, failed }: Asked,
    limit: number,
    work: (signal: AbortSignal) => Promise<T>,
    succeed: (value: T) => void,
  ): void {
    this.#underWay
      .run(limit, async (signal) => work(signal))
      .then(succeed)
      .catch((error: unknown) => {
        failed(-errnoOf(error));
        const { complaints } = this.#mount;
        // A store that does not answer is worth a line, as an EIO is.
        if (hasCode(error, 'ETIMEDOUT'))
          complaints.once(`${operation} of ${path} failed: ${messageOf(error)}`);
        else complaints.failed(operation, () => path, error);
      });
  }
}

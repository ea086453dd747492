import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { hasCode, StillError } from '../../../errors.js';
import { sendDescriptors } from '../../../posix/send-descriptor.js';
import { boundedWait, type WaitLimits } from './bounded-wait.js';
import { JsonStream } from './json-stream.js';
import { faultsOf, parseQmpMessage, type QmpEvent, type QmpMessage } from './message.js';
import { GuestIsOff, QmpError } from './qmp-error.js';
import { busySocket, connectToSingleClientSocket, nobodyListens, restOf } from './single-client-socket.js';

/** Answers are some 200 KB (the schema), or 1 KB for each block node. */
const mostBytes = 64 * 1024 * 1024;
const connectMilliseconds = 10_000;
/** How soon a full socket is tried again. */
const retryMilliseconds = 20;
/** 0xFF makes QEMU's parser forget half a command. */
const parserReset = Buffer.from([0xff, 0x0a]);

export interface CommandOptions extends WaitLimits {
  /** Go with the command's first byte (`getfd`, `add-fd`). They stay the caller's: to close when `execute` is over. */
  readonly descriptors?: readonly number[];
}

interface Outgoing {
  readonly bytes: Buffer;
  readonly descriptors: readonly number[];
  /** Asked at the last moment. */
  wanted(): boolean;
  /** The first byte goes. */
  sent(): void;
}

interface UnderWay {
  readonly command: string;
  /** QEMU has the command, or a part of it: its reply will come, whether anybody waits for it or not. */
  sent: boolean;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * One connection to a QMP monitor (QEMU's docs/interop/qmp-spec.rst): commands, events, descriptors. A monitor serves one
 * client at a time and others need it too, so hold one no longer than needed; `Monitor` sees to that. When the connection
 * ends, whatever waits on it fails with the reason, and it is done with.
 */
export class QmpConnection {
  readonly #socket: Socket;
  readonly #descriptor: number;
  readonly #stream: JsonStream;
  readonly #takenOver: boolean;
  /** Replies may come to commands of who had the connection before: the ids must not be the same. */
  readonly #idPrefix = `stillfs-${randomBytes(6).toString('hex')}-`;
  readonly #underWay = new Map<string, UnderWay>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #ended = new AbortController();
  #lastId = 0;
  #version = '';
  /** Settles when all that was to be sent before is with the kernel. */
  #sent: Promise<void> = Promise.resolve();
  #greeted: (() => void) | undefined;

  private constructor(
    descriptor: number,
    /** As the sentences of errors name it: `guest 100`. */
    readonly guest: string,
    takenOver: boolean,
  ) {
    this.#takenOver = takenOver;
    this.#descriptor = descriptor;
    this.#stream = new JsonStream({ mostBytes, skipsNonsense: takenOver });
    this.#socket = new Socket({ fd: descriptor, readable: true, writable: true });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', (cause) => this.#end('ECONNRESET', 'failed', cause));
    this.#socket.on('close', () => this.#end('ECONNRESET', 'was closed by QEMU: the guest is off now'));
  }

  /**
   * Connects to the socket at a path and negotiates. Fails with `GuestIsOff` where nobody listens, EBUSY where another program
   * keeps the monitor until the deadline (10 s where none is given), EPROTO where it does not speak QMP.
   */
  static async connect(path: string, guest: string, limits: WaitLimits = {}): Promise<QmpConnection> {
    const { signal, deadlineMilliseconds = connectMilliseconds } = limits;
    const started = Date.now();
    try {
      const descriptor = await connectToSingleClientSocket(path, `the monitor of ${guest}`, {
        signal,
        deadlineMilliseconds,
      });
      const rest = restOf(deadlineMilliseconds, started);
      return await QmpConnection.open(descriptor, guest, { signal, deadlineMilliseconds: rest });
    } catch (error) {
      if (nobodyListens(error)) throw new GuestIsOff(guest, path, error);
      throw error;
    }
  }

  /** The same on a Unix socket that is connected already and has not been read. The descriptor is the connection's from now on. */
  static async open(descriptor: number, guest: string, limits: WaitLimits = {}): Promise<QmpConnection> {
    const { signal, deadlineMilliseconds = connectMilliseconds } = limits;
    const connection = QmpConnection.#over(descriptor, guest, false);
    const started = Date.now();
    try {
      await boundedWait<void>(
        { signal, deadlineMilliseconds },
        (milliseconds) => busySocket(`the monitor of ${guest}`, milliseconds),
        (resolve, reject) => {
          connection.#greeted = resolve;
          return connection.#whenEnded(reject);
        },
      );
      const rest = restOf(deadlineMilliseconds, started);
      await connection.execute('qmp_capabilities', undefined, z.unknown(), {
        signal,
        deadlineMilliseconds: rest,
      });
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /**
   * Goes on with a connection that another process negotiated and left, perhaps in the middle of a command or of an answer: what
   * is left of those is skipped. Only one process may use a connection at a time. The descriptor is the connection's from now on.
   */
  static takeOver(descriptor: number, guest: string): QmpConnection {
    const connection = QmpConnection.#over(descriptor, guest, true);
    connection.#send({ bytes: parserReset, descriptors: [], wanted: () => true, sent: () => undefined });
    return connection;
  }

  static #over(descriptor: number, guest: string, takenOver: boolean): QmpConnection {
    try {
      return new QmpConnection(descriptor, guest, takenOver);
    } catch (error) {
      closeSync(descriptor);
      throw new StillError('EINVAL', `descriptor ${descriptor} is no socket of the monitor of ${guest}`, {
        cause: error,
      });
    }
  }

  /** QEMU's version, for people to read; empty where the connection was taken over. What QEMU can do, its schema tells. */
  get version(): string {
    return this.#version;
  }

  /** Fires when the connection has ended, with the reason (a StillError). */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** The socket, to be inherited by a process that takes over. It stays open there when this connection is closed. */
  get descriptor(): number {
    this.#ended.signal.throwIfAborted();
    return this.#descriptor;
  }

  /**
   * Asks for a command and gives what it returns, as the schema makes it; arguments that are undefined are left out. Fails with a
   * QmpError where QEMU refuses, EPROTO where the answer is not of the schema, ETIMEDOUT at the deadline. An abort or the
   * deadline ends the wait, not the command: it may have been sent already, is then carried out all the same, and its reply
   * is dropped. QEMU carries out commands one after another, so the next one waits for it.
   */
  async execute<S extends z.ZodType>(
    command: string,
    args: object | undefined,
    schema: S,
    options: CommandOptions = {},
  ): Promise<z.output<S>> {
    const parsed = schema.safeParse(await this.#ask(command, args, options));
    if (parsed.success) return parsed.data;
    throw new StillError(
      'EPROTO',
      `QEMU of ${this.guest} answers ${command} unlike its documentation: ${faultsOf(parsed.error)}`,
    );
  }

  /** Calls the listener at each event of that name, until the function that is returned is called. */
  on(event: string, listener: (event: QmpEvent) => void): () => void {
    const heard = (happened: QmpEvent): void => {
      if (happened.event === event) listener(happened);
    };
    this.#listeners.add(heard);
    return () => this.#listeners.delete(heard);
  }

  /** Waits for the next event of that name that fits. Begin before the command that causes it: events are not kept. */
  waitFor(event: string, fits: (event: QmpEvent) => boolean, limits: WaitLimits = {}): Promise<QmpEvent> {
    const waiting = boundedWait<QmpEvent>(
      limits,
      (milliseconds) =>
        new StillError(
          'ETIMEDOUT',
          `QEMU of ${this.guest} did not tell of ${event} within ${milliseconds} ms`,
        ),
      (resolve, reject) => {
        const forget = this.on(event, (happened) => {
          if (fits(happened)) resolve(happened);
        });
        const stop = this.#whenEnded(reject);
        return () => {
          forget();
          stop();
        };
      },
    );
    // The command that was to cause it may fail first, and then nobody looks at this.
    waiting.catch(() => undefined);
    return waiting;
  }

  /** Lets the monitor go. Whatever waits fails with ECANCELED. */
  close(): void {
    this.#end('ECANCELED', 'was closed');
  }

  #ask(command: string, args: object | undefined, options: CommandOptions): Promise<unknown> {
    const id = `${this.#idPrefix}${++this.#lastId}`;
    const late = (milliseconds: number): StillError =>
      new StillError(
        'ETIMEDOUT',
        `QEMU of ${this.guest} did not answer ${command} within ${milliseconds} ms; it may still carry it out`,
      );
    return boundedWait<unknown>(options, late, (resolve, reject) => {
      if (this.#ended.signal.aborted) {
        reject(this.#ended.signal.reason);
        return () => undefined;
      }
      const underWay: UnderWay = { command, sent: false, resolve, reject };
      this.#underWay.set(id, underWay);
      this.#send({
        bytes: Buffer.from(`${JSON.stringify({ execute: command, arguments: args, id })}\n`),
        descriptors: options.descriptors ?? [],
        wanted: () => this.#underWay.has(id),
        sent: () => {
          underWay.sent = true;
        },
      });
      return () => {
        if (!underWay.sent) this.#underWay.delete(id);
      };
    });
  }

  /** Sends a message when all before it is with the kernel, if it is still wanted then. */
  #send(message: Outgoing): void {
    const send = async (): Promise<void> => {
      let { bytes } = message;
      if (message.descriptors.length > 0) {
        // Nothing is left in the socket's own queue here, so that these bytes are the very next ones.
        bytes = bytes.subarray(await this.#sendDescriptors(message));
      } else if (this.#isWanted(message)) {
        message.sent();
      } else {
        return;
      }
      if (bytes.length > 0) await new Promise<void>((resolve) => this.#socket.write(bytes, () => resolve()));
    };
    this.#sent = this.#sent.then(send).catch((error: unknown) => this.#end('EIO', 'failed', error));
  }

  /** How many bytes went with them: all, where the message is not wanted any more before the socket has room. */
  async #sendDescriptors(message: Outgoing): Promise<number> {
    const { bytes, descriptors } = message;
    while (this.#isWanted(message)) {
      try {
        const sent = sendDescriptors(this.#descriptor, bytes, descriptors, `the monitor of ${this.guest}`);
        message.sent();
        return sent;
      } catch (error) {
        if (!hasCode(error, 'EAGAIN')) throw error;
      }
      await wait(retryMilliseconds);
    }
    return bytes.length;
  }

  #isWanted(message: Outgoing): boolean {
    return !this.#ended.signal.aborted && message.wanted();
  }

  #take(chunk: Buffer): void {
    try {
      for (const message of this.#stream.take(chunk)) {
        if (this.#ended.signal.aborted) return;
        this.#receive(message);
      }
    } catch (error) {
      this.#end('EPROTO', 'is of no use', error);
    }
  }

  #receive(object: object): void {
    const message = this.#parse(object);
    if (!message) return;
    if (message.kind === 'greeting') {
      this.#version = message.version;
      this.#greeted?.();
      this.#greeted = undefined;
    } else if (message.kind === 'event') {
      for (const listener of [...this.#listeners]) listener(message.event);
    } else {
      const underWay = typeof message.id === 'string' ? this.#underWay.get(message.id) : undefined;
      if (!underWay || typeof message.id !== 'string') {
        if (this.#takenOver) return;
        const what = message.kind === 'failure' ? `: ${message.description}` : '';
        throw new StillError('EPROTO', `it answers a command that was not sent${what}`);
      }
      this.#underWay.delete(message.id);
      if (message.kind === 'success') underWay.resolve(message.value);
      else
        underWay.reject(new QmpError(this.guest, underWay.command, message.errorClass, message.description));
    }
  }

  /** Undefined for an inner part of an answer whose begin another process has read. */
  #parse(object: object): QmpMessage | undefined {
    try {
      return parseQmpMessage(object);
    } catch (error) {
      if (this.#takenOver) return undefined;
      throw error;
    }
  }

  #whenEnded(listener: (reason: unknown) => void): () => void {
    const { signal } = this.#ended;
    const tell = (): void => listener(signal.reason);
    if (signal.aborted) tell();
    signal.addEventListener('abort', tell, { once: true });
    return () => signal.removeEventListener('abort', tell);
  }

  #end(code: 'ECANCELED' | 'ECONNRESET' | 'EIO' | 'EPROTO', how: string, cause?: unknown): void {
    if (this.#ended.signal.aborted) return;
    const reason = new StillError(
      code,
      `the connection to the monitor of ${this.guest} ${how}`,
      cause === undefined ? {} : { cause },
    );
    this.#ended.abort(reason);
    this.#socket.destroy();
    this.#listeners.clear();
    for (const underWay of this.#underWay.values()) underWay.reject(reason);
    this.#underWay.clear();
  }
}

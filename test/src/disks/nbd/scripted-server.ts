import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Numbers as the protocol has them on the wire: [value, bytes]. */
export const wire = (...numbers: ReadonlyArray<readonly [number | bigint, 2 | 4 | 8]>): Buffer =>
  Buffer.concat(
    numbers.map(([value, bytes]) => {
      const number = Buffer.alloc(8);
      number.writeBigUInt64BE(BigInt(value));
      return number.subarray(8 - bytes);
    }),
  );

export const greeting = (flags = 3): Buffer =>
  Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), wire([flags, 2])]);

export const optionReply = (option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([wire([0x3e889045565a9n, 8], [option, 4], [type, 4], [data.length, 4]), data]);

export const ACK = 1;
export const UNSUPPORTED = 0x8000_0001;

/** What a server offers unless a test says otherwise. */
export interface Offer {
  readonly size?: number | bigint;
  /** Transmission flags. */
  readonly flags?: number;
  /** Numbers of meta contexts, by name. */
  readonly contexts?: Readonly<Record<string, number>>;
  readonly extended?: boolean;
  /** Minimum, preferred, maximum. */
  readonly blocks?: readonly [number, number, number];
}

export interface Asked {
  readonly type: number;
  readonly flags: number;
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
  readonly payload: Buffer;
}

/** A client as a scripted server sees it. */
export class Client {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #extended = false;
  /** Options that were asked for, in their order. */
  readonly options: number[] = [];
  /** Every byte that came. */
  bytes = 0;
  /** Whether the client shut its side down, and not merely closed its descriptor. */
  ended = false;
  readonly closed: Promise<void>;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake?.();
    });
    socket.on('error', () => socket.destroy());
    socket.on('end', () => {
      this.ended = true;
    });
    this.closed = new Promise((resolve) =>
      socket.on('close', () => {
        this.#wake?.();
        resolve();
      }),
    );
  }

  /** Waits for ever once the client has gone: the script ends there. */
  async read(bytes: number): Promise<Buffer> {
    while (this.#received.length < bytes) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      if (this.#socket.destroyed) await new Promise(() => undefined);
    }
    const read = this.#received.subarray(0, bytes);
    this.#received = this.#received.subarray(bytes);
    return read;
  }

  say(...parts: readonly Buffer[]): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(parts));
  }

  /** Says more and more, at the client's pace, until it goes. */
  async sayForEver(part: Buffer): Promise<void> {
    let gone = false;
    void this.closed.then(() => {
      gone = true;
    });
    while (!gone) {
      if (!this.#socket.write(part))
        await Promise.race([new Promise((resolve) => this.#socket.once('drain', resolve)), this.closed]);
    }
  }

  hangUp(): void {
    this.#socket.destroy();
  }

  pause(): void {
    this.#socket.pause();
  }

  async option(): Promise<{ option: number; data: Buffer }> {
    const header = await this.read(16);
    const option = header.readUInt32BE(8);
    this.options.push(option);
    return { option, data: await this.read(header.readUInt32BE(12)) };
  }

  /** Up to the transmission phase. */
  async negotiate(offer: Offer = {}): Promise<void> {
    this.say(greeting());
    await this.read(4);
    for (;;) {
      const { option, data } = await this.option();
      if (option === 11 && offer.extended) {
        this.#extended = true;
        this.say(optionReply(option, ACK));
      } else if (option === 8) {
        this.say(optionReply(option, ACK));
      } else if (option === 10) {
        for (const [name, number] of Object.entries(offer.contexts ?? {})) {
          if (data.includes(name))
            this.say(optionReply(option, 4, Buffer.concat([wire([number, 4]), Buffer.from(name)])));
        }
        this.say(optionReply(option, ACK));
      } else if (option === 7) {
        if (offer.blocks) {
          const [minimum, preferred, maximum] = offer.blocks;
          this.say(optionReply(7, 3, wire([3, 2], [minimum, 4], [preferred, 4], [maximum, 4])));
        }
        this.say(optionReply(7, 3, wire([0, 2], [offer.size ?? 65536, 8], [offer.flags ?? 1, 2])));
        this.say(optionReply(7, ACK));
        return;
      } else {
        this.say(optionReply(option, UNSUPPORTED));
      }
    }
  }

  async request(): Promise<Asked> {
    const header = await this.read(this.#extended ? 32 : 28);
    const magic = header.readUInt32BE(0);
    if (magic !== (this.#extended ? 0x21e41c71 : 0x25609513))
      throw new Error(`request magic ${magic.toString(16)}`);
    const flags = header.readUInt16BE(4);
    const type = header.readUInt16BE(6);
    const length = this.#extended ? Number(header.readBigUInt64BE(24)) : header.readUInt32BE(24);
    const hasPayload = this.#extended ? (flags & 32) !== 0 : type === 1;
    return {
      type,
      flags,
      cookie: header.readBigUInt64BE(8),
      offset: Number(header.readBigUInt64BE(16)),
      length,
      payload: hasPayload ? await this.read(length) : Buffer.alloc(0),
    };
  }

  /** The header of a chunk and its payload. */
  chunk(asked: Asked, type: number, payload: Buffer = Buffer.alloc(0), done = true): void {
    this.say(this.header(asked, type, payload.length, done), payload);
  }

  header(asked: Asked, type: number, length: number, done = true): Buffer {
    const flags = done ? 1 : 0;
    return this.#extended
      ? wire([0x6e8a278c, 4], [flags, 2], [type, 2], [asked.cookie, 8], [asked.offset, 8], [length, 8])
      : wire([0x668e33ef, 4], [flags, 2], [type, 2], [asked.cookie, 8], [length, 4]);
  }

  data(asked: Asked, offset: number, bytes: Buffer, done = true): void {
    this.chunk(asked, 1, Buffer.concat([wire([offset, 8]), bytes]), done);
  }

  simple(asked: Asked, error: number): void {
    this.say(wire([0x67446698, 4], [error, 4], [asked.cookie, 8]));
  }

  error(asked: Asked, error: number, words = ''): void {
    this.chunk(
      asked,
      0x8001,
      Buffer.concat([wire([error, 4], [Buffer.byteLength(words), 2]), Buffer.from(words)]),
    );
  }
}

/** A server that says to each client what a test wants it to. */
export class ScriptedServer {
  readonly clients: Client[] = [];
  readonly #server: Server;
  readonly #folder: string;
  #noticed: (() => void) | undefined;
  /** What a script failed with: the test's own mistake. */
  failure: unknown;

  private constructor(folder: string, script: (client: Client, place: number) => Promise<void> | void) {
    this.#folder = folder;
    this.#server = createServer({ allowHalfOpen: false }, (socket) => {
      const client = new Client(socket);
      this.clients.push(client);
      this.#noticed?.();
      Promise.resolve(script(client, this.clients.length - 1)).catch((error: unknown) => {
        this.failure = error;
        socket.destroy();
      });
    });
  }

  static async listen(
    script: (client: Client, place: number) => Promise<void> | void,
    where?: ListenOptions,
  ): Promise<ScriptedServer> {
    const server = new ScriptedServer(await mkdtemp(join(tmpdir(), 'stillfs-nbd-')), script);
    await new Promise<void>((resolve) => server.#server.listen(where ?? { path: server.path }, resolve));
    return server;
  }

  get path(): string {
    return join(this.#folder, 'socket');
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Waits until so many clients have come. */
  async came(count: number): Promise<void> {
    while (this.clients.length < count) {
      await new Promise<void>((resolve) => {
        this.#noticed = resolve;
      });
    }
  }

  /** Waits until each client's socket is closed. */
  async allClosed(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.closed));
  }

  async close(): Promise<void> {
    for (const client of this.clients) client.hangUp();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#folder, { recursive: true, force: true });
    if (this.failure !== undefined) throw this.failure;
  }
}

import type { Socket } from 'node:net';

/** How a command in the guest went: what it wrote to both outputs (UTF-8), and its exit status. */
export interface CommandResult {
  readonly output: string;
  readonly status: number;
}

interface Waiting {
  resolve(result: CommandResult): void;
  reject(error: Error): void;
}

/** The host's end of the port through which `init` takes commands: see there for what goes over it. */
export class GuestShell {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  /** Settles when the guest takes commands. */
  readonly ready: Promise<unknown>;
  #received = Buffer.alloc(0);
  #number = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.ready = this.#answer(0);
    // Whoever waits for the guest to be ready hears of its end; nobody else has to.
    this.ready.catch(() => undefined);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      while (this.#takeAnswer());
    });
    socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the guest has ended'));
      this.#waiting.clear();
    });
  }

  /** Runs a command line, or several lines, in a shell of its own; several may run at a time. */
  run(commandLine: string): Promise<CommandResult> {
    const number = ++this.#number;
    const answer = this.#answer(number);
    this.#socket.write(`${number} ${Buffer.from(commandLine).toString('base64')}\n`);
    return answer;
  }

  #answer(number: number): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) reject(new Error('the guest has ended'));
      else this.#waiting.set(number, { resolve, reject });
    });
  }

  #takeAnswer(): boolean {
    const newline = this.#received.indexOf('\n');
    if (newline < 0) return false;
    const header = this.#received.toString('latin1', 0, newline);
    const [number, status, length] = header.split(' ').map(Number);
    if (number === undefined || status === undefined || length === undefined || Number.isNaN(length)) {
      this.#socket.destroy();
      return false;
    }
    const end = newline + 1 + length;
    if (this.#received.length < end) return false;
    const output = this.#received.toString('utf8', newline + 1, end);
    this.#received = this.#received.subarray(end);
    this.#waiting.get(number)?.resolve({ output, status });
    this.#waiting.delete(number);
    return true;
  }
}

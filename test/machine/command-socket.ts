import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { z } from 'zod';

const message = z.union([
  z.object({ QMP: z.unknown() }),
  z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).optional() }),
  z.object({ id: z.number(), error: z.object({ class: z.string(), desc: z.string() }) }),
  z.object({ id: z.number(), return: z.unknown() }),
]);

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface QemuEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * The tests' own way to give JSON commands to QEMU's monitor (QMP) and to the guest agent, apart from stillfs's, so
 * that a mistake there can't hide itself here.
 */
export class CommandSocket {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #events: QemuEvent[] = [];
  readonly #listeners = new Set<(event: QemuEvent) => void>();
  #number = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const lines = createInterface(socket);
    // QEMU may be killed while we write: the answers that are missing say so.
    socket.on('error', () => undefined);
    lines.on('error', () => undefined);
    lines.on('line', (line) => this.#hear(line));
    socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the connection has ended'));
      this.#waiting.clear();
    });
  }

  /** A monitor that is ready for commands. */
  static async monitor(socket: Socket): Promise<CommandSocket> {
    const monitor = new CommandSocket(socket);
    await monitor.execute('qmp_capabilities');
    return monitor;
  }

  /** A guest agent, which greets nobody. */
  static async agent(path: string): Promise<CommandSocket> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new CommandSocket(socket);
  }

  /** What the command returns; rejects with QEMU's words where it fails. */
  execute(command: string, arguments_: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = ++this.#number;
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new Error(`${command}: the connection has ended`));
        return;
      }
      const named = (error: Error): void => reject(new Error(`${command}: ${error.message}`));
      this.#waiting.set(id, { resolve, reject: named });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: arguments_, id })}\n`);
    });
  }

  /** All events so far, oldest first. */
  get events(): readonly QemuEvent[] {
    return this.#events;
  }

  /** The first event of that name, and with such data, that has come or will come. */
  first(name: string, matches: (data: QemuEvent['data']) => boolean = () => true): Promise<QemuEvent> {
    const past = this.#events.find(({ event, data }) => event === name && matches(data));
    return past ? Promise.resolve(past) : this.next(name, matches);
  }

  /** The next event of that name, and with such data, from now on. */
  next(name: string, matches: (data: QemuEvent['data']) => boolean = () => true): Promise<QemuEvent> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#listeners.delete(hear);
        reject(new Error(`the connection has ended before ${name}`));
      };
      const hear = (event: QemuEvent): void => {
        if (event.event !== name || !matches(event.data)) return;
        this.#listeners.delete(hear);
        this.#socket.off('close', end);
        resolve(event);
      };
      if (this.#socket.destroyed) return end();
      this.#listeners.add(hear);
      this.#socket.once('close', end);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #hear(line: string): void {
    const said = message.parse(JSON.parse(line));
    if ('QMP' in said) return;
    if ('event' in said) {
      const event = { event: said.event, data: said.data ?? {} };
      this.#events.push(event);
      for (const listener of this.#listeners) listener(event);
      return;
    }
    const waiting = this.#waiting.get(said.id);
    this.#waiting.delete(said.id);
    if ('error' in said) waiting?.reject(new Error(said.error.desc));
    else waiting?.resolve(said.return);
  }
}

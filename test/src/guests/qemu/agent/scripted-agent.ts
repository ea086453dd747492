import type { Socket } from 'node:net';
import { ScriptedServer } from '../qmp/scripted-server.js';

/** A guest agent on a Unix socket, that does what a test tells it to. */
export class ScriptedAgent {
  /** The commands it has come to, in their order, without guest-sync-delimited. */
  readonly done: string[] = [];
  /** What it does at a command: gives the value that is returned, says it by itself (undefined), or takes its time. */
  answer: (command: string, socket: Socket) => unknown = () => ({});
  /** What it does when it is asked for a sign of life. */
  sync: (id: number, socket: Socket) => void = (id, socket) =>
    socket.write(Buffer.from(`\xff{"return": ${id}}\n`, 'latin1'));
  readonly #heard: Array<() => void> = [];

  private constructor(readonly server: ScriptedServer) {}

  static async listen(): Promise<ScriptedAgent> {
    const agent: ScriptedAgent = new ScriptedAgent(
      await ScriptedServer.raw((socket) => {
        let rest = '';
        let before = Promise.resolve();
        socket.setEncoding('latin1');
        socket.on('data', (chunk: string) => {
          // 0xFF: what came before is forgotten.
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) {
            before = before.then(() => agent.#take(line.slice(line.lastIndexOf('\xff') + 1), socket));
          }
        });
      }),
    );
    return agent;
  }

  /** Comes back when the agent has come to that many commands. */
  async reached(commands: number): Promise<void> {
    while (this.done.length < commands) await new Promise<void>((resolve) => this.#heard.push(resolve));
  }

  async #take(line: string, socket: Socket): Promise<void> {
    const { execute, arguments: args } = JSON.parse(line);
    if (execute === 'guest-sync-delimited') {
      this.sync(args.id, socket);
      return;
    }
    this.done.push(execute);
    for (const tell of this.#heard.splice(0)) tell();
    const value = await this.answer(execute, socket);
    if (value !== undefined) socket.write(`${JSON.stringify({ return: value })}\n`);
  }
}

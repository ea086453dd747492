import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 9}, "package": "test"}, "capabilities": []}}';

/** A message that the server has got. */
export interface Asked {
  readonly execute: string;
  readonly arguments?: Record<string, unknown>;
  readonly id: string;
}

/** A server on a Unix socket that says what a test tells it to: what QEMU would never say, too. */
export class ScriptedServer {
  readonly #server: Server;
  readonly #folder: string;
  readonly sockets: Socket[] = [];
  /** All that came, of all clients. */
  readonly asked: Asked[] = [];

  private constructor(folder: string, client: (socket: Socket, server: ScriptedServer) => void) {
    this.#folder = folder;
    this.#server = createServer((socket) => {
      this.sockets.push(socket);
      socket.on('error', () => socket.destroy());
      client(socket, this);
    });
  }

  /** One whose clients are treated wholly by the test. */
  static async raw(client: (socket: Socket, server: ScriptedServer) => void): Promise<ScriptedServer> {
    const folder = await mkdtemp(join(tmpdir(), 'stillfs-qmp-'));
    const server = new ScriptedServer(folder, client);
    await new Promise<void>((resolve) => server.#server.listen(server.path, resolve));
    return server;
  }

  /** One that greets, negotiates, and gives every other command to the test. */
  static qmp(answer: (asked: Asked, socket: Socket) => void): Promise<ScriptedServer> {
    return ScriptedServer.raw((socket, server) => {
      socket.write(`${greeting}\r\n`);
      onLines(socket, (line) => {
        const asked: Asked = JSON.parse(line);
        if (asked.execute === 'qmp_capabilities') socket.write(returned(asked));
        else {
          server.asked.push(asked);
          answer(asked, socket);
        }
      });
    });
  }

  get path(): string {
    return join(this.#folder, 'socket');
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#folder, { recursive: true });
  }
}

export function returned({ id }: Asked, value: unknown = {}): string {
  return `${JSON.stringify({ return: value, id })}\r\n`;
}

export function onLines(socket: Socket, take: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(line);
  });
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, Socket } from 'node:net';
import koffi from 'koffi';
import { afterEach, describe, expect, test } from 'vitest';
import { openNbdDisk } from '../../../../src/disks/nbd/nbd-disk.js';
import { type Client, ScriptedServer } from './scripted-server.js';

const libc = koffi.load(null);
const duplicate = libc.func('int dup(int)');
const closeDescriptor = libc.func('int close(int)');

let server: ScriptedServer;
afterEach(() => server.close());

/** Answers reads with the client's place among the clients; hangs up when told goodbye. */
async function placeAnswering(client: Client, place: number): Promise<void> {
  await client.negotiate({ flags: 1 | (1 << 8) });
  for (;;) {
    const asked = await client.request();
    if (asked.type === 2) return client.hangUp();
    client.data(asked, asked.offset, Buffer.alloc(asked.length, place + 1));
  }
}

/** A connected descriptor that no socket of Node's owns. */
async function connectedDescriptor(): Promise<number> {
  const socket = connect(server.path);
  await once(socket, 'connect');
  const descriptor: number = duplicate(descriptorOf(socket));
  socket.destroy();
  await once(socket, 'close');
  return descriptor;
}

/** Node has no public name for it. */
function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  const descriptor: unknown =
    typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  if (typeof descriptor !== 'number') throw new Error('a socket without a descriptor');
  return descriptor;
}

describe('an export is reached', () => {
  test('over TCP', async () => {
    server = await ScriptedServer.listen(placeAnswering, { host: '127.0.0.1', port: 0 });
    const address = { host: '127.0.0.1', port: server.port };
    const disk = await openNbdDisk({ address, exportName: 'disk' });
    const bytes = Buffer.alloc(65536);
    await disk.read(0, bytes);
    expect(bytes.equals(Buffer.alloc(65536, 1))).toBe(true);
    await disk.close();
    await server.allClosed();
    expect(server.clients.length).toBe(2);
  });

  test('over descriptors that are connected, as many as there are', async () => {
    server = await ScriptedServer.listen(placeAnswering);
    const descriptors = [
      await connectedDescriptor(),
      await connectedDescriptor(),
      await connectedDescriptor(),
    ];
    const disk = await openNbdDisk({ address: { descriptors }, exportName: 'disk', connections: 8 });
    const answered = await Promise.all(
      [1, 2, 3].map(async () => {
        const bytes = Buffer.alloc(512);
        await disk.read(0, bytes);
        return bytes[0];
      }),
    );
    expect(new Set(answered)).toEqual(new Set([1, 2, 3]));
    await disk.close();
    await server.allClosed();
  });

  test('over no more descriptors than the server allows connections; the others are closed', async () => {
    server = await ScriptedServer.listen((client) => client.negotiate());
    const descriptors = [await connectedDescriptor(), await connectedDescriptor()];
    const disk = await openNbdDisk({ address: { descriptors }, exportName: 'disk', connections: 8 });
    await server.clients[1]?.closed;
    await disk.close();
  });

  for (const large of [true, false]) {
    test(`through sockets that the caller makes ${large ? 'with' : 'without'} the large buffer`, async () => {
      server = await ScriptedServer.listen(placeAnswering);
      let made = 0;
      const disk = await openNbdDisk({
        address: {
          connect: async (onread) => {
            made++;
            const socket = connect({ path: server.path, ...(large && { onread }) });
            await once(socket, 'connect');
            return socket;
          },
        },
        exportName: 'disk',
        connections: 2,
      });
      const bytes = Buffer.alloc(65536);
      await disk.read(0, bytes);
      expect(bytes[65535]).toBeGreaterThan(0);
      expect(made).toBe(2);
      await disk.close();
      await server.allClosed();
    });
  }

  test('by no socket that comes after the wait for it was aborted', async () => {
    server = await ScriptedServer.listen(() => undefined);
    const abort = new AbortController();
    let give: (socket: Socket) => void = () => undefined;
    const opening = openNbdDisk(
      {
        address: {
          connect: () =>
            new Promise((resolve) => {
              give = resolve;
            }),
        },
        exportName: 'disk',
      },
      abort.signal,
    );
    abort.abort(new Error('enough'));
    await expect(opening).rejects.toThrow('enough');
    const socket = connect(server.path);
    await once(socket, 'connect');
    give(socket);
    await server.came(1);
    await server.allClosed();
  });

  test('by nothing where no server listens', async () => {
    server = await ScriptedServer.listen(() => undefined);
    await expect(
      openNbdDisk({ address: { path: `${server.path}-none` }, exportName: 'disk' }),
    ).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringMatching(/can't connect to the NBD server at/),
    });
  });
});

describe('a held connection', () => {
  /** What the server saw of a client after its own side was let go, up to the end of the duplicate. */
  async function heldDisk(options: { held: boolean }) {
    server = await ScriptedServer.listen(placeAnswering);
    const keeper: number[] = [];
    const disk = await openNbdDisk({
      address: {
        connect: async (onread) => {
          const descriptor = await connectedDescriptor();
          keeper.push(duplicate(descriptor));
          const options = { fd: descriptor, readable: true, writable: true, onread };
          return new Socket(options);
        },
      },
      exportName: 'disk',
      connections: 1,
      ...options,
    });
    await disk.read(0, Buffer.alloc(512));
    const [client] = server.clients;
    if (!client) throw new Error('no client');
    return { disk, client, letGo: () => keeper.map((descriptor) => closeDescriptor(descriptor)) };
  }

  test('stays connected when the disk is closed: the server hears nothing until its duplicate ends', async () => {
    const { disk, client, letGo } = await heldDisk({ held: true });
    const before = client.bytes;
    let closed = false;
    void client.closed.then(() => {
      closed = true;
    });
    await disk.close();
    await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'EBADF' });
    // Something that goes to the server and back: what it had been told before, it would have heard by now.
    const later = await openNbdDisk({ address: { path: server.path }, exportName: 'disk' });
    await later.close();
    expect([client.ended, closed, client.bytes]).toEqual([false, false, before]);
    letGo();
    await client.closed;
    expect(client.bytes).toBe(before);
  });

  test('stays connected when it fails', async () => {
    const { disk, client, letGo } = await heldDisk({ held: true });
    client.say(Buffer.alloc(16, 0x11));
    await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'EIO' });
    expect(disk.lost).toBeDefined();
    const later = await openNbdDisk({ address: { path: server.path }, exportName: 'disk' });
    await later.close();
    expect(client.ended).toBe(false);
    await disk.close();
    letGo();
    await client.closed;
  });

  test('that is not called held is shut down, duplicate or not', async () => {
    const { disk, client, letGo } = await heldDisk({ held: false });
    await disk.close();
    await client.closed;
    letGo();
  });

  test('is never made anew', async () => {
    server = await ScriptedServer.listen(() => undefined);
    const options = { address: { path: server.path }, exportName: 'disk', held: true, reconnect: true };
    await expect(openNbdDisk(options)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test('outlives the process that used it', async () => {
    server = await ScriptedServer.listen(placeAnswering);
    const descriptor = await connectedDescriptor();
    const keeper = spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', descriptor] });
    const disk = await openNbdDisk({
      address: { descriptors: [descriptor] },
      exportName: 'disk',
      held: true,
    });
    await disk.read(0, Buffer.alloc(512));
    await disk.close();
    const [client] = server.clients;
    expect(client?.ended).toBe(false);
    keeper.kill('SIGKILL');
    await client?.closed;
  });
});

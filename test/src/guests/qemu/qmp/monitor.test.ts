import { rename } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { QmpConnection } from '../../../../../src/guests/qemu/qmp/connection.js';
import { Monitor } from '../../../../../src/guests/qemu/qmp/monitor.js';
import { returned, ScriptedServer } from './scripted-server.js';

let server: ScriptedServer;
let monitor: Monitor;
beforeEach(async () => {
  server = await ScriptedServer.qmp((asked, socket) => {
    if (asked.execute === 'end') socket.destroy();
    else socket.write(returned(asked));
  });
  monitor = new Monitor(server.path, 'guest 100');
});
afterEach(() => server.close());

const ask = (connection: QmpConnection): Promise<unknown> => connection.execute('x', undefined, z.unknown());
const closed = (socket: Socket | undefined): Promise<unknown> =>
  new Promise((resolve) => (socket?.destroyed ? resolve(undefined) : socket?.once('close', resolve)));

describe('a monitor', () => {
  it('is connected to only while it is used, and shared by those that use it at once', async () => {
    await Promise.all([monitor.use(ask), monitor.use(ask), monitor.use(() => monitor.use(ask))]);
    expect(server.sockets).toHaveLength(1);
    await closed(server.sockets[0]);
    await monitor.use(ask);
    expect(server.sockets).toHaveLength(2);
  });

  it('is let go when the work fails', async () => {
    await expect(monitor.use(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await closed(server.sockets[0]);
  });

  it('is connected to anew when the connection has ended, also while somebody still holds the old one', async () => {
    await monitor.use(async (old) => {
      await expect(old.execute('end', undefined, z.unknown())).rejects.toMatchObject({ code: 'ECONNRESET' });
      await monitor.use(ask);
    });
    expect(server.sockets).toHaveLength(2);
    await monitor.use(ask);
  });

  it('tries again after it could not be connected to', async () => {
    await rename(server.path, `${server.path}-away`);
    await expect(monitor.use(ask)).rejects.toMatchObject({ code: 'ENOENT' });
    await rename(`${server.path}-away`, server.path);
    await monitor.use(ask);
  });

  it('keeps connecting for the others when one stops waiting', async () => {
    const abort = new AbortController();
    const leaving = monitor.use(ask, { signal: abort.signal });
    const staying = monitor.use(ask);
    abort.abort(new Error('left'));
    await expect(leaving).rejects.toThrow('left');
    await staying;
    expect(server.sockets).toHaveLength(1);
  });

  it('serves who comes while the last one stops waiting, and leaves no connection behind', async () => {
    // At each step of its leaving.
    for (let steps = 0; steps < 12; steps++) {
      const abort = new AbortController();
      const leaving = monitor.use(ask, { signal: abort.signal });
      const left = expect(leaving).rejects.toThrow('left');
      abort.abort(new Error('left'));
      for (let step = 0; step < steps; step++) await Promise.resolve();
      await monitor.use(ask);
      await left;
    }
    for (const socket of server.sockets) await closed(socket);
  });
});

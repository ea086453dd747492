import { closeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectUnixSocket, listeningUnixSocket } from '../../../src/posix/unix-socket.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-socket-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('a Unix socket', () => {
  it('is connected to where one listens, and says at once when nobody can be served', () => {
    const path = join(folder, 'Größe');
    const listening = listeningUnixSocket(path, 0);
    const connected = connectUnixSocket(path);
    expect(() => connectUnixSocket(path)).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    expect(() => listeningUnixSocket(path)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    closeSync(connected);
    closeSync(listening);
    expect(() => connectUnixSocket(path)).toThrow(expect.objectContaining({ code: 'ECONNREFUSED' }));
    expect(() => connectUnixSocket(`${path}-2`)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });

  it('has a path of at most 107 bytes', () => {
    const path = folder.padEnd(107, '/x');
    expect(() => connectUnixSocket(path)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expect(() => connectUnixSocket(`${path}x`)).toThrow(/at most 107 bytes/);
    for (const none of ['', '/tmp/\0']) expect(() => connectUnixSocket(none)).toThrow(/no path/);
  });
});

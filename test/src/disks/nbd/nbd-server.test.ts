import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Disk } from '../../../../src/disks/disk.js';
import { NbdServer } from '../../../../src/disks/nbd/nbd-server.js';
import { StillError } from '../../../../src/errors.js';
import { run } from './nbd-programs.js';
import { optionReply, wire } from './scripted-server.js';

const size = 3 * (1 << 20) + 512;
const content = Buffer.from(Array.from({ length: size }, (_, at) => (at * 3 + (at >> 10)) % 251));
let folder: string;
let server: NbdServer;
let troubles: unknown[];
let reads: number;
let bad: number | undefined;
const disk: Disk = {
  size,
  read: async (offset, target) => {
    reads++;
    if (bad !== undefined && offset <= bad && bad < offset + target.length)
      throw new StillError('EIO', `the file is torn at ${bad}`);
    target.set(content.subarray(offset, offset + target.length));
  },
  extents: async (offset, length) => [{ offset, length, zero: false, dirty: true }],
  close: async () => undefined,
};
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-nbd-server-'));
  troubles = [];
  reads = 0;
  bad = undefined;
  server = await NbdServer.listen(disk, join(folder, 'socket'), (error) => troubles.push(error));
});
afterEach(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

/** A client that says bytes and hears what comes back, up to so many bytes or the end of the connection. */
function conversation(parts: readonly Buffer[], bytes = Number.POSITIVE_INFINITY): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = connect(join(folder, 'socket'));
    let heard: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk]);
      if (heard.length >= bytes) socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(heard));
    for (const part of parts) socket.write(part);
  });
}

const hello = Buffer.concat([wire([1, 4]), Buffer.from('IHAVEOPT'), wire([7, 4], [6, 4], [0, 4], [0, 2])]);
/** The greeting, the information, the acknowledgement. */
const helloBytes = 18 + 32 + 20;
const request = (type: number, offset: number, length: number, cookie = 1): Buffer =>
  wire([0x25609513, 4], [0, 2], [type, 2], [cookie, 8], [offset, 8], [length, 4]);

describe('an image’s NBD server', () => {
  test('shows the bytes to QEMU’s and to libnbd’s client', async () => {
    const uri = `nbd+unix:///?socket=${join(folder, 'socket')}`;
    const { stdout } = await run('nbdinfo', ['--json', uri]);
    const [shown] = JSON.parse(stdout).exports;
    expect(shown).toMatchObject({ 'export-size': size, is_read_only: true });
    const copied = await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, join(folder, 'copy')]);
    expect(copied.stderr).toBe('');
    const compared = await run('nbdcopy', [uri, '-'], { encoding: 'buffer', maxBuffer: 2 * size });
    expect(compared.stdout.equals(content)).toBe(true);
    expect(troubles).toEqual([]);
  });

  test('tells the client of an error, and its owner the reason', async () => {
    bad = 5000;
    const heard = await conversation(
      [hello, request(0, 4096, 4096, 8), request(0, 0, 512, 9)],
      helloBytes + 16 + 16 + 512,
    );
    expect(heard.subarray(helloBytes, helloBytes + 32)).toEqual(
      wire([0x67446698, 4], [5, 4], [8, 8], [0x67446698, 4], [0, 4], [9, 8]),
    );
    expect(troubles).toEqual([expect.objectContaining({ message: 'the file is torn at 5000' })]);
  });

  test('refuses what leaves the disk, what is too long, and what changes it', async () => {
    const asked = [
      request(0, size - 1, 2, 1),
      request(0, 2 ** 52, 1, 2),
      request(0, 0, 2 ** 32 - 1, 3),
      request(4, 0, 512, 4),
      request(6, 0, 512, 5),
      request(3, 0, 0, 6),
    ];
    const heard = await conversation([hello, ...asked], helloBytes + 6 * 16);
    const errors = [1, 2, 3, 4, 5, 6].map((_, place) => heard.readUInt32BE(helloBytes + place * 16 + 4));
    expect(errors).toEqual([22, 22, 22, 1, 1, 1]);
    expect(reads).toBe(0);
  });

  const nonsense: Record<string, readonly Buffer[]> = {
    'no option': [wire([1, 4]), Buffer.alloc(16, 7)],
    'an option of 4 GiB': [wire([1, 4]), Buffer.from('IHAVEOPT'), wire([7, 4], [0xffff_ffff, 4])],
    'no request': [hello, Buffer.alloc(28, 7)],
    'an offset beyond 2^53': [hello, wire([0x25609513, 4], [0, 4], [1, 8], [2n ** 63n, 8], [1, 4])],
    'a write': [hello, request(1, 0, 512), Buffer.alloc(512)],
  };
  for (const [name, parts] of Object.entries(nonsense)) {
    test(`sends away who says ${name}`, async () => {
      await conversation(parts);
      expect(troubles).toEqual([expect.objectContaining({ code: 'EIO' })]);
    });
  }

  test('takes leave of a client that does, at each stage', async () => {
    const heard = await conversation([wire([1, 4]), Buffer.from('IHAVEOPT'), wire([2, 4], [0, 4])]);
    expect(heard.subarray(18)).toEqual(optionReply(2, 1));
    expect((await conversation([hello, request(2, 0, 0)])).length).toBe(helloBytes);
    expect(troubles).toEqual([]);
  });

  test('works at the pace of a client that does not read its answers', async () => {
    const socket = connect(join(folder, 'socket'));
    socket.pause();
    socket.write(hello);
    for (let cookie = 0; cookie < 1000; cookie++) socket.write(request(0, 0, 1 << 20, cookie));
    // Another client's whole conversation goes by meanwhile.
    for (let turn = 0; turn < 20; turn++)
      await conversation([hello, request(0, 0, 512)], helloBytes + 16 + 512);
    expect(reads).toBeLessThan(20 + 10);
    socket.destroy();
  });

  test('gone, closes the connections of its clients', async () => {
    const talking = conversation([hello]);
    await conversation([hello, request(2, 0, 0)]);
    server.close();
    await talking;
  });
});

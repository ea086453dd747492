import { readFile, stat, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type NbdWriter, openNbdWriter } from '../../../../src/disks/nbd/nbd-writer.js';
import { NbdPrograms, run } from './nbd-programs.js';
import { type Asked, type Client, type Offer, ScriptedServer } from './scripted-server.js';

const M = 1 << 20;
/** HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_WRITE_ZEROES */
const writable = 1 | 4 | 8 | 64;

describe('an export of qemu-storage-daemon', () => {
  let programs: NbdPrograms;
  beforeAll(async () => {
    programs = await NbdPrograms.begin();
  });
  afterAll(() => programs.end());

  test('takes what is written, zeroed and flushed', async () => {
    const path = programs.path('disk.raw');
    await writeFile(path, Buffer.alloc(48 * M, 0xff));
    const socket = await programs.daemon(
      ['driver=file,node-name=disk,filename=disk.raw,discard=unmap'],
      ',writable=on',
    );
    const writer = await openNbdWriter({ address: { path: socket }, exportName: 'disk' });
    expect(writer.size).toBe(48 * M);
    // More than one request may carry.
    const bytes = Buffer.alloc(40 * M);
    for (let at = 0; at < bytes.length; at += 8) bytes.writeDoubleBE(at, at);
    await writer.write(M, bytes);
    await writer.write(0, Buffer.alloc(512, 7), { fua: true });
    await writer.writeZeroes(4 * M, 2 * M);
    await writer.writeZeroes(8 * M, 2 * M, { noHole: true, fua: true });
    await writer.flush();
    await writer.close();
    const expected = Buffer.concat([Buffer.alloc(M, 0xff), bytes, Buffer.alloc(7 * M, 0xff)]);
    expected
      .fill(7, 0, 512)
      .fill(0, 4 * M, 6 * M)
      .fill(0, 8 * M, 10 * M);
    expect((await readFile(path)).equals(expected)).toBe(true);
    // A hole where one may be, space where none may.
    expect(Math.round(((await stat(path)).blocks * 512) / M)).toBe(46);
    await expect(writer.write(0, bytes)).rejects.toMatchObject({ code: 'EBADF' });
  });

  test('that is read-only is EROFS', async () => {
    await run('truncate', ['-s', '1M', 'ro.raw'], { cwd: programs.folder });
    const socket = await programs.daemon(['driver=file,node-name=disk,filename=ro.raw,read-only=on']);
    await expect(openNbdWriter({ address: { path: socket }, exportName: 'disk' })).rejects.toMatchObject({
      code: 'EROFS',
    });
  });
});

describe('a writer', () => {
  let server: ScriptedServer;
  let writer: NbdWriter | undefined;
  const all: Asked[] = [];
  afterEach(async () => {
    await writer?.close();
    writer = undefined;
    all.length = 0;
    await server.allClosed();
    await server.close();
  });

  async function writerAnswered(
    offer: Offer,
    answer: (client: Client, asked: Asked) => void = (client, asked) => client.chunk(asked, 0),
  ): Promise<NbdWriter> {
    server = await ScriptedServer.listen(async (client) => {
      await client.negotiate(offer);
      for (;;) {
        const asked = await client.request();
        if (asked.type === 2) return client.hangUp();
        all.push(asked);
        answer(client, asked);
      }
    });
    writer = await openNbdWriter({ address: { path: server.path }, exportName: 'disk' });
    return writer;
  }

  test('says what it wants as the protocol has it', async () => {
    const opened = await writerAnswered({ flags: writable, size: 2 ** 33, blocks: [512, 4096, 65536] });
    await opened.write(512, Buffer.alloc(131072, 1), { fua: true });
    await opened.writeZeroes(0, 2 ** 31, { noHole: true });
    await opened.flush();
    expect(all.map(({ type, flags, offset, length }) => [type, flags, offset, length])).toEqual([
      [1, 1, 512, 65536],
      [1, 1, 66048, 65536],
      [6, 2, 0, 2 ** 30],
      [6, 2, 2 ** 30, 2 ** 30],
      [3, 0, 0, 0],
    ]);
    expect(all[1]?.payload.equals(Buffer.alloc(65536, 1))).toBe(true);
  });

  test('marks its payload where headers are extended', async () => {
    const opened = await writerAnswered({ flags: writable, extended: true });
    await opened.write(0, Buffer.from('twelve bytes'), { fua: true });
    expect(all[0]).toMatchObject({
      type: 1,
      flags: 1 | 32,
      length: 12,
      payload: Buffer.from('twelve bytes'),
    });
  });

  test('tells every error number of the protocol as an errno, in a sentence', async () => {
    const errors: Record<number, readonly [string, RegExp]> = {
      1: ['EPERM', /it is not permitted/],
      5: ['EIO', /its storage failed/],
      12: ['ENOMEM', /it is out of memory/],
      22: ['EINVAL', /it calls the request invalid/],
      28: ['ENOSPC', /there is no space left/],
      75: ['EOVERFLOW', /too large for it/],
      95: ['EOPNOTSUPP', /does not support that/],
      4711: ['EINVAL', /error 4711/],
    };
    const numbers = Object.keys(errors).map(Number);
    const opened = await writerAnswered({ flags: writable, blocks: [512, 512, 4096] }, (client, asked) =>
      client.simple(asked, numbers[asked.offset / 512] ?? 0),
    );
    for (const [place, number] of numbers.entries()) {
      const [code, words] = errors[number] ?? ['', /./];
      await expect(opened.write(place * 512, Buffer.alloc(512))).rejects.toMatchObject({
        code,
        message: expect.stringMatching(words),
      });
    }
    await opened.write(numbers.length * 512, Buffer.alloc(512));
  });

  test('is told ESHUTDOWN as EIO, and leaves', async () => {
    const opened = await writerAnswered({ flags: writable }, (client, asked) => client.simple(asked, 108));
    await expect(opened.write(0, Buffer.alloc(512))).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/write of 512 bytes at 0: it is shutting down/),
    });
    await server.allClosed();
  });

  test('returns only when nothing of it is under way, also where a part fails', async () => {
    const held: (() => void)[] = [];
    const opened = await writerAnswered({ flags: writable, blocks: [512, 512, 512] }, (client, asked) => {
      if (asked.offset === 512) held.push(() => client.simple(asked, 0));
      else client.simple(asked, asked.offset === 0 ? 28 : 0);
    });
    let returned = false;
    const writing = opened.write(0, Buffer.alloc(1024)).finally(() => {
      returned = true;
    });
    writing.catch(() => undefined);
    // What is answered after the refusal: the refusal has come by then.
    await opened.write(2048, Buffer.alloc(512));
    expect(returned).toBe(false);
    for (const answer of held) answer();
    await expect(writing).rejects.toMatchObject({ code: 'ENOSPC' });
  });

  test('does not connect anew: what was not flushed may be lost', async () => {
    const opened = await writerAnswered({ flags: writable }, (client) => client.hangUp());
    await expect(opened.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'EIO' });
    await expect(opened.flush()).rejects.toMatchObject({ code: 'EIO' });
    expect(server.clients.length).toBe(1);
  });

  test('asks for nothing that the server does not offer, nor for half a block', async () => {
    const opened = await writerAnswered({ flags: 1, blocks: [4096, 4096, 65536], size: 65536 });
    await expect(opened.flush()).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
    await expect(opened.writeZeroes(0, 4096)).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
    await expect(opened.write(0, Buffer.alloc(4096), { fua: true })).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
    });
    await expect(opened.write(512, Buffer.alloc(4096))).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(opened.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(opened.write(61440, Buffer.alloc(8192))).rejects.toMatchObject({ code: 'EINVAL' });
    expect(all).toEqual([]);
  });
});

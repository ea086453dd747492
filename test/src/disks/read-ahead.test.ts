import { describe, expect, it } from 'vitest';
import { ReadAhead } from '../../../src/disks/read-ahead.js';
import { StillError } from '../../../src/errors.js';

const size = 100_000;
const content = Buffer.from(Array.from({ length: size }, (_, index) => (index * 31) % 251));
const bounds = { windowBytes: 8192, pieceBytes: 2048, afterBytes: 1024 };

/** A disk that notes what it is asked for; from `bad` on it can't be read. */
function noted(bad = Number.POSITIVE_INFINITY) {
  const asked: Array<[offset: number, length: number]> = [];
  const ahead = new ReadAhead(
    async (offset, target, signal) => {
      asked.push([offset, target.byteLength]);
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
      if (offset + target.byteLength > bad) throw new StillError('EIO', `nothing at ${offset}`);
      content.copy(target, 0, offset);
    },
    size,
    bounds,
  );
  const read = async (offset: number, length: number, signal?: AbortSignal): Promise<Buffer> => {
    const target = Buffer.alloc(length);
    await ahead.read(offset, target, signal);
    return target;
  };
  return { asked, ahead, read };
}

describe('reading ahead', () => {
  it('gives the bytes of the disk, whatever the reads', async () => {
    for (const length of [1, 100, 512, 3000, 9000]) {
      const { read } = noted();
      for (let at = 0; at < size; at += length) {
        const wanted = Math.min(length, size - at);
        expect((await read(at, wanted)).equals(content.subarray(at, at + wanted))).toBe(true);
      }
    }
  });

  it('asks for each byte once when a disk is read from its beginning to its end', async () => {
    const { asked, read } = noted();
    for (let at = 0; at < size; at += 1000) await read(at, Math.min(1000, size - at));
    expect(asked.reduce((sum, [, length]) => sum + length, 0)).toBe(size);
    expect(asked.length).toBeLessThan(size / 1500);
  });

  it('asks for nothing more when reads jump about', async () => {
    const { asked, read } = noted();
    const places = [50_000, 3000, 70_000, 9000, 20_000];
    for (const length of [512, 4000]) for (const at of places) await read(at, length);
    expect(asked).toEqual([512, 4000].flatMap((length) => places.map((at) => [at, length])));
  });

  it('asks for hardly anything twice when several readers share a disk', async () => {
    const { asked, read } = noted();
    const length = 2000;
    for (let base = 0; base < size; base += 4 * length) {
      const reads = [1, 0, 3, 2].map(async (step) => {
        const at = base + step * length;
        const wanted = Math.min(length, size - at);
        if (wanted > 0) expect((await read(at, wanted)).equals(content.subarray(at, at + wanted))).toBe(true);
      });
      await Promise.all(reads);
    }
    expect(asked.reduce((sum, [, bytes]) => sum + bytes, 0)).toBeLessThan(size * 1.2);
  });

  it('gives an error to who reads the bytes that can’t be had, and to nobody before', async () => {
    const { read } = noted(10_000);
    for (let at = 0; at < 10_000; at += 1000) await read(at, 1000);
    await expect(read(10_000, 1000)).rejects.toThrow('nothing at 10000');
    expect((await read(0, 1000)).equals(content.subarray(0, 1000))).toBe(true);
  });

  it('asks anew for what was dropped', async () => {
    const { asked, ahead, read } = noted();
    for (let at = 0; at < 4000; at += 1000) await read(at, 1000);
    ahead.drop();
    const before = asked.length;
    expect((await read(4000, 1000)).equals(content.subarray(4000, 5000))).toBe(true);
    expect(asked.length).toBeGreaterThan(before);
  });

  it('ends a wait at once when it is aborted', async () => {
    const never = new ReadAhead(
      (offset, target) =>
        offset < 2000 ? Promise.resolve(void content.copy(target, 0, offset)) : new Promise(() => undefined),
      size,
      { ...bounds, windowBytes: 2048 },
    );
    for (let at = 0; at < 2000; at += 1000) await never.read(at, Buffer.alloc(1000));
    const abort = new AbortController();
    const waiting = never.read(2000, Buffer.alloc(1000), abort.signal);
    abort.abort(new StillError('EINTR', 'enough'));
    await expect(waiting).rejects.toThrow('enough');
  });
});

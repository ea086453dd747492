import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Disk } from '../../../src/disks/disk.js';
import { StillError } from '../../../src/errors.js';
import type { Extent } from '../../../src/extents.js';
import { SumsFile } from '../../../src/provider/sums/sums-file.js';
import { compareWithSums } from '../../../src/provider/verify/compare-with-sums.js';
import { Damage } from '../../../src/provider/verify/damage.js';
import { sumsOf } from '../../backups/stored-chain.js';

const mebibyte = 2 ** 20;
const { signal } = new AbortController();

/** A disk in memory that tells which blocks were read of it; `broken` ones can't be. */
function diskOf(bytes: Buffer, kinds: readonly Omit<Extent, 'offset'>[], broken: readonly number[] = []) {
  const reads: number[] = [];
  const disk: Disk = {
    size: bytes.length,
    read: async (offset, target) => {
      const block = Math.floor(offset / mebibyte);
      reads.push(block);
      if (broken.includes(block)) throw new StillError('EIO', 'a table is damaged');
      target.set(bytes.subarray(offset, offset + target.length));
    },
    extents: async (offset) => {
      if (broken.includes(Math.floor(offset / mebibyte))) throw new StillError('EIO', 'a table is damaged');
      let at = 0;
      for (const kind of kinds) {
        if (offset < at + kind.length) return [{ ...kind, offset, length: at + kind.length - offset }];
        at += kind.length;
      }
      return [];
    },
    close: async () => undefined,
  };
  return { disk, reads };
}

const own = { zero: false, dirty: true };
const clean = { zero: false, dirty: false };

describe('a disk compared with its checksums', () => {
  let folder: string;
  const opened: SumsFile[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'compare-with-sums-'));
  });
  afterEach(async () => {
    for (const sums of opened.splice(0)) await sums.close();
    await rm(folder, { recursive: true });
  });

  const sumsFile = async (bytes: Buffer): Promise<SumsFile> => {
    const path = join(folder, `${opened.length}.sums`);
    await writeFile(path, sumsOf(bytes));
    const sums = await SumsFile.open(path);
    opened.push(sums);
    return sums;
  };
  const bytesOf = (blocks: number, more = 0): Buffer => {
    const bytes = Buffer.alloc(blocks * mebibyte + more);
    for (let at = 0; at < bytes.length; at += mebibyte)
      bytes.fill(at / mebibyte + 1, at, Math.min(at + mebibyte, bytes.length));
    return bytes;
  };

  it('is read to its end, and nothing is found where nothing is damaged', async () => {
    const bytes = bytesOf(3, 5);
    const { disk, reads } = diskOf(bytes, [{ ...own, length: bytes.length }]);
    let done = 0;
    const progress = (more: number): void => {
      done += more;
    };
    const damage = await compareWithSums(
      { disk, sums: await sumsFile(bytes), backup: 'b', progress },
      signal,
    );
    expect({ blocks: damage.blocks, reads, done }).toEqual({
      blocks: 0,
      reads: [0, 1, 2, 3],
      done: bytes.length,
    });
  });

  it('tells of neighbours together, and of the short last block', async () => {
    const bytes = bytesOf(5, 5);
    const sums = await sumsFile(bytes);
    for (const at of [mebibyte, 2 * mebibyte + 7, 5 * mebibyte + 4]) bytes.writeUInt8(99, at);
    const { disk } = diskOf(bytes, [{ ...own, length: bytes.length }]);
    const damage = await compareWithSums({ disk, sums, backup: 'b' }, signal);
    const why = 'differs from its checksum';
    expect(damage.runs).toEqual([
      { first: 1, count: 2, why, from: 'b' },
      { first: 5, count: 1, why, from: 'b' },
    ]);
    expect(damage.bytes(bytes.length)).toBe(2 * mebibyte + 5);
  });

  it('is damaged where it can’t be read, and goes on behind', async () => {
    const bytes = bytesOf(4);
    const { disk } = diskOf(bytes, [{ ...own, length: bytes.length }], [2]);
    const damage = await compareWithSums({ disk, sums: await sumsFile(bytes), backup: 'b' }, signal);
    expect(damage.runs).toEqual([{ first: 2, count: 1, why: 'a table is damaged', from: 'b' }]);
  });

  it('is not read where it is zeros, and zeros in place of something are damage', async () => {
    const bytes = bytesOf(3);
    const sums = await sumsFile(bytes);
    bytes.fill(0, mebibyte, 2 * mebibyte);
    const { disk, reads } = diskOf(bytes, [
      { ...own, length: mebibyte },
      { zero: true, dirty: true, length: mebibyte },
      { ...own, length: mebibyte },
    ]);
    const damage = await compareWithSums({ disk, sums, backup: 'b' }, signal);
    expect({ blocks: damage.runs.map(({ first }) => first), reads }).toEqual({ blocks: [1], reads: [0, 2] });
  });

  it('takes over what was found of a parent, where both have the same checksum', async () => {
    const parent = bytesOf(4);
    const bytes = Buffer.from(parent);
    bytes.fill(77, 3 * mebibyte);
    const found = new Damage();
    found.add(1, 'differs from its checksum', 'grandparent');
    const { disk, reads } = diskOf(bytes, [
      { ...clean, length: 3 * mebibyte },
      { ...own, length: mebibyte },
    ]);
    const sums = await sumsFile(bytes);
    const below = { sums: await sumsFile(parent), damage: found };
    const damage = await compareWithSums({ disk, sums, backup: 'b', parent: below }, signal);
    expect({ runs: damage.runs, reads }).toEqual({
      runs: [{ first: 1, count: 1, why: 'differs from its checksum', from: 'grandparent' }],
      reads: [3],
    });
  });

  it('reads what it has from a parent with another checksum, and blames itself', async () => {
    const parent = bytesOf(2, 100);
    const bytes = Buffer.concat([parent.subarray(0, 2 * mebibyte + 100), Buffer.alloc(mebibyte - 100, 9)]);
    const sums = await sumsFile(bytes);
    bytes.writeUInt8(1, mebibyte + 1);
    // The second block is lost without a trace: what is read is the parent's.
    const other = Buffer.from(parent);
    other.fill(8, mebibyte, 2 * mebibyte);
    const { disk, reads } = diskOf(bytes, [
      { ...clean, length: 2 * mebibyte + 100 },
      { ...own, length: mebibyte - 100 },
    ]);
    const below = { sums: await sumsFile(other), damage: new Damage() };
    const damage = await compareWithSums({ disk, sums, backup: 'b', parent: below }, signal);
    expect({ runs: damage.runs, reads }).toEqual({
      runs: [{ first: 1, count: 1, why: 'differs from its checksum', from: 'b' }],
      reads: [1, 2],
    });
  });

  it('ends when it is asked to', async () => {
    const bytes = bytesOf(2);
    const { disk } = diskOf(bytes, [{ ...own, length: bytes.length }]);
    const sums = await sumsFile(bytes);
    await expect(
      compareWithSums({ disk, sums, backup: 'b' }, AbortSignal.abort(new Error('enough'))),
    ).rejects.toThrow('enough');
  });
});

import { describe, expect, it } from 'vitest';
import { KnownFiles } from '../../../../src/archives/host-folder/known-files.js';
import type { Name } from '../../../../src/name.js';

const name = (text: string): Name => text as Name;
/** More than linger after they were forgotten. */
const forgetOthers = (files: KnownFiles, from = 1_000_000n): void => {
  for (let inode = from; inode < from + 20_000n; inode++) {
    files.learn(inode, 1n, name(`other-${inode}`));
    files.forget(inode);
  }
};

describe('known files', () => {
  it('know the place of each of very many, also of inodes of 64 bits', () => {
    const files = new KnownFiles(1n);
    const inodeOf = (each: number): bigint => BigInt(each) * 0x9e37_79b9_7f4an + 2n;
    for (let each = 0; each < 50_000; each++) {
      files.learn(
        inodeOf(each),
        each === 0 ? 1n : inodeOf(Math.floor((each - 1) / 50)),
        name(`file ${each}`),
      );
    }
    files.learn(2n ** 64n - 1n, 1n, name('largest'));
    for (let each = 0; each < 50_000; each++) {
      const folder = each === 0 ? 1n : inodeOf(Math.floor((each - 1) / 50));
      expect(files.placeOf(inodeOf(each))).toEqual({ folder, name: `file ${each}` });
    }
    expect(files.placeOf(2n ** 64n - 1n)).toEqual({ folder: 1n, name: 'largest' });
    expect(files.placeOf(1n)).toBeUndefined();
    expect(files.count).toBe(50_002);
  });

  it('keep a forgotten folder while something in it is known, and drop both after', () => {
    const files = new KnownFiles(1n);
    files.learn(2n, 1n, name('folder'));
    files.learn(3n, 2n, name('folder in it'));
    files.learn(4n, 3n, name('file'));
    files.forget(2n);
    files.forget(3n);
    forgetOthers(files);
    expect(files.placeOf(3n)).toEqual({ folder: 2n, name: 'folder in it' });
    files.forget(4n);
    forgetOthers(files);
    for (const inode of [2n, 3n, 4n]) expect(() => files.placeOf(inode)).toThrow(/not known any more/);
  });

  it('have a forgotten file at hand for a while, and keep one that is found again', () => {
    const files = new KnownFiles(1n);
    files.learn(2n, 1n, name('file'));
    files.forget(2n);
    expect(files.placeOf(2n)).toEqual({ folder: 1n, name: 'file' });
    files.learn(2n, 1n, name('file'));
    forgetOthers(files);
    expect(files.has(2n)).toBe(true);
  });

  it('take no more room when others come and go', () => {
    const files = new KnownFiles(1n);
    forgetOthers(files);
    const { count, bytes } = files;
    for (let round = 1n; round < 20n; round++) forgetOthers(files, 1_000_000n + round * 20_000n);
    expect(files.count).toBe(count);
    expect(files.bytes).toBe(bytes);
  });

  it('look for a moved file where it was found last, and refuse a folder within itself', () => {
    const files = new KnownFiles(1n);
    files.learn(2n, 1n, name('a'));
    files.learn(3n, 2n, name('b'));
    files.learn(4n, 3n, name('file'));
    expect(() => files.learn(2n, 3n, name('a'))).toThrow(/was moved/);
    files.learn(3n, 1n, name('c'));
    expect(files.placeOf(3n)).toEqual({ folder: 1n, name: 'c' });
    files.learn(2n, 3n, name('a'));
    expect(files.placeOf(2n)).toEqual({ folder: 3n, name: 'a' });
  });

  it('agree with a simple model, whatever is learned and forgotten', () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    const files = new KnownFiles(1n);
    const model = new Map<bigint, { folder: bigint; name: string }>();
    for (let step = 0; step < 100_000; step++) {
      const inode = BigInt(2 + random(5000));
      if (random(3) > 0) {
        const folder = random(2) > 0 ? 1n : inode / 2n;
        if (folder !== 1n && !model.has(folder)) continue;
        const at = { folder, name: `${step}` };
        files.learn(inode, folder, name(at.name));
        model.set(inode, at);
      } else {
        files.forget(inode);
        model.delete(inode);
      }
    }
    for (const [inode, at] of model) expect(files.placeOf(inode)).toEqual(at);
  });
});

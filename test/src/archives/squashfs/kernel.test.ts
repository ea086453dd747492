import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeOddities } from '../../../corpus/oddities.js';
import { differences } from './difference.js';
import { makeSquashfs, mountedByKernel, openImage } from './images.js';

/** Programs, text and what can't be compressed, in sizes around those of blocks. */
function makeContents(folder: string): void {
  mkdirSync(folder);
  writeFileSync(join(folder, 'program'), readFileSync('/bin/bash').subarray(0, 400_000));
  const text = Buffer.from('all work and no play makes jack a dull boy\n'.repeat(70_000));
  for (const size of [1, 4095, 4096, 4097, 8192, 131_071, 131_072, 131_073, 1_048_576, 2_500_001])
    writeFileSync(join(folder, `text-${size}`), text.subarray(0, size));
  let seed = 1;
  const random = Buffer.from(
    Uint8Array.from({ length: 300_000 }, () => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) | 0;
      return seed >>> 24;
    }),
  );
  writeFileSync(join(folder, 'random'), random);
}

describe('a squashfs image of every oddity', () => {
  let folder: string;
  let tree: string;
  let image: string;

  beforeAll(() => {
    folder = mkdtempSync(join('/dev/shm', 'stillfs-squashfs-'));
    tree = join(folder, 'tree');
    image = join(folder, 'image.squashfs');
    mkdirSync(tree);
    makeOddities(tree);
    makeContents(join(tree, 'contents'));
  });
  afterAll(() => execFileSync('rm', ['-rf', folder]));

  // mksquashfs reads 4 GiB of zeros for one of the sparse files: once is enough.
  const quick = ['-e', 'holes/a-byte-beyond-4-gib'];
  it.each([
    ['gzip, and a file beyond 4 GiB', []],
    ['gzip with blocks of 1 MiB', ['-b', '1M', ...quick]],
    ['gzip of all strategies', ['-Xstrategy', 'filtered,huffman_only,fixed', '-Xwindow-size', '9', ...quick]],
    ['xz', ['-comp', 'xz', ...quick]],
    ['xz with filters for programs', ['-comp', 'xz', '-Xbcj', 'x86,powerpc', '-b', '1M', ...quick]],
    ['xz with blocks of 4 KiB', ['-comp', 'xz', '-b', '4K', ...quick]],
    ['zstd', ['-comp', 'zstd', '-Xcompression-level', '3', ...quick]],
    ['zstd with blocks of 1 MiB', ['-comp', 'zstd', '-b', '1M', ...quick]],
    ['lz4', ['-comp', 'lz4', ...quick]],
    ['lz4 at its best with blocks of 4 KiB', ['-comp', 'lz4', '-Xhc', '-b', '4K', ...quick]],
    ['lzo', ['-comp', 'lzo', ...quick]],
    ['lzo of another kind', ['-comp', 'lzo', '-Xalgorithm', 'lzo1x_1', '-b', '1M', ...quick]],
    ['without fragments', ['-no-fragments', ...quick]],
    ['with every tail in a fragment', ['-always-use-fragments', '-b', '64K', ...quick]],
    ['without compression', ['-noI', '-noD', '-noF', '-noX', ...quick]],
    ['without compressed data', ['-noD', '-comp', 'zstd', ...quick]],
    ['without attributes and export table', ['-no-xattrs', '-no-exports', '-nopad', ...quick]],
  ])('is shown as Linux shows it: %s', async (_how, options) => {
    await makeSquashfs(tree, image, ...options);
    const opened = await openImage(image);
    try {
      const found = await mountedByKernel(image, (mounted) => differences(opened.tree, mounted));
      expect(found).toEqual([]);
      expect(opened.problems).toEqual([]);
    } finally {
      await opened.close();
      rmSync(image);
    }
  });
});

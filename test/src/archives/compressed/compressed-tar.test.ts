import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { archiveOfFileName } from '../../../../src/archives/archive-format.js';
import type { Compression } from '../../../../src/archives/compressed/compression.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { contentOf, walk } from '../host-folder/walk.js';
import { bytesDisk } from '../tar/file-disk.js';
import { archive, member } from '../tar/made-archive.js';
import { type OpenedTar, openTar } from '../tar/opened-tar.js';

const programs: Record<Exclude<Compression, 'none'>, readonly string[]> = {
  gzip: ['gzip', '-1'],
  zstd: ['zstd', '-1', '-q'],
  xz: ['xz', '-0'],
  bzip2: ['bzip2', '-1'],
  lz4: ['lz4', '-1', '-q'],
};
const compressions = Object.keys(programs) as Array<keyof typeof programs>;

const packedBy = new Map<string, Buffer>();

/** The archive of all files, compressed. */
function compressed(compression: keyof typeof programs): Buffer {
  const [program = '', ...options] = programs[compression];
  const before = packedBy.get(program);
  if (before) return before;
  const packed = execFileSync(program, [...options, '-c'], { input: plain, maxBuffer: 1 << 30 });
  packedBy.set(program, packed);
  return packed;
}

/** Text that packs a little, of any length, another one for each seed. */
function words(seed: number, length: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0, each = 0; at < length; at += 64, each++)
    parts.push(Buffer.from(createHash('sha256').update(`${seed}:${each}`).digest('hex')));
  return Buffer.concat(parts).subarray(0, length);
}

let folder: string;
let cacheFolder: string;
let plain: Buffer;
let expected: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-compressed-'));
  const files = Array.from({ length: 30 }, (_, each) => ({
    name: `d${each % 3}/f${each}`,
    data: words(each, 400_001),
  }));
  plain = archive(...files.map(member));
  expected = Object.fromEntries(files.map(({ name, data }) => [name, hashOf(data)]));
});
beforeEach(async () => {
  cacheFolder = await mkdtemp(join(folder, 'cache-'));
});
afterAll(() => rm(folder, { recursive: true }));

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function hashesIn(tree: Tree): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for await (const { path, attributes } of walk(tree)) {
    if (attributes.type === 'file') hashes[path] = hashOf(await contentOf(tree, attributes));
  }
  return hashes;
}

function opened(compression: Compression, packed: Buffer, options = {}): Promise<OpenedTar> {
  return openTar(bytesDisk(packed), { cacheFolder, ...options }, compression);
}

describe('a compressed archive', () => {
  it.each(compressions)('of %s is the one that was compressed, also the second time', async (compression) => {
    const packed = compressed(compression);
    let done = 0;
    const first = await opened(compression, packed, { progress: (bytes: number) => (done = bytes) });
    expect(first.problems).toEqual([]);
    expect(done).toBe(packed.length);
    expect(await hashesIn(first.tree)).toEqual(expected);
    await first.tree.close();

    // Everything is in the cache: the archive itself could as well be gone.
    const second = await opened(compression, Buffer.alloc(packed.length));
    expect(await hashesIn(second.tree)).toEqual(expected);
    await second.tree.close();
  });

  it('can be read whole with a cache that holds a part of it, and leaves no more than that', async () => {
    const most = 7 << 20;
    const { tree } = await opened('gzip', compressed('gzip'), { mostCacheBytes: most });
    expect(await hashesIn(tree)).toEqual(expected);
    expect(await hashesIn(tree)).toEqual(expected);
    await tree.close();
    const names = await readdir(cacheFolder);
    const sizes = await Promise.all(
      names.map(async (name) => (await readFile(join(cacheFolder, name))).length),
    );
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(most);
    expect(names.filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('can be read where parts of the cache are gone or were cut, while it is open and after', async () => {
    const packed = compressed('zstd');
    const { tree } = await opened('zstd', packed);
    for (const name of await readdir(cacheFolder)) {
      if (name.endsWith('chunk-1') || name.endsWith('chunk-3')) await rm(join(cacheFolder, name));
      if (name.endsWith('chunk-2')) await truncate(join(cacheFolder, name), 1000);
    }
    expect(await hashesIn(tree)).toEqual(expected);
    for (const name of await readdir(cacheFolder)) await rm(join(cacheFolder, name));
    expect(await hashesIn(tree)).toEqual(expected);
    await tree.close();
  });

  it('can be read where there is no room to keep anything', async () => {
    const full = join(folder, 'full');
    execFileSync('mkdir', ['-p', full]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=5m', 'tmpfs', full]);
    try {
      const { tree } = await opened('lz4', compressed('lz4'), { cacheFolder: full });
      expect(await hashesIn(tree)).toEqual(expected);
      await tree.close();
    } finally {
      execFileSync('umount', [full]);
    }
    await writeFile(join(folder, 'a-file'), '');
    const { tree } = await opened('lz4', compressed('lz4'), { cacheFolder: join(folder, 'a-file') });
    expect(await hashesIn(tree)).toEqual(expected);
    await tree.close();
  });

  it('without a cache folder leaves nothing behind', async () => {
    const left = async (): Promise<string[]> =>
      (await readdir(tmpdir())).filter((name) => name.startsWith('stillfs-archive-'));
    const before = await left();
    const { tree } = await openTar(bytesDisk(compressed('gzip')), {}, 'gzip');
    expect(await hashesIn(tree)).toEqual(expected);
    await tree.close();
    expect((await left()).filter((name) => !before.includes(name))).toEqual([]);
  });

  it.each(compressions)('of %s that was cut short shows what comes before', async (compression) => {
    const packed = compressed(compression);
    const { tree, problems } = await opened(compression, packed.subarray(0, Math.floor(packed.length / 2)));
    expect(problems.length).toBeGreaterThan(0);
    const good: string[] = [];
    for await (const { path, attributes } of walk(tree)) {
      if (attributes.type !== 'file') continue;
      const bytes = await contentOf(tree, attributes).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'EIO' });
      });
      if (!bytes) continue;
      expect(hashOf(bytes)).toBe(expected[path]);
      good.push(path);
    }
    // About half of them, less what was in the last block.
    expect(good.length).toBeGreaterThan(10);
    expect(good.length).toBeLessThan(20);
    await tree.close();
  });

  it('that is none is an empty tree with a problem', async () => {
    for (const compression of compressions) {
      const { tree, problems } = await opened(compression, words(1, 5000), { identity: compression });
      expect(await hashesIn(tree)).toEqual({});
      expect(problems.join()).toMatch(/can't be decompressed/);
      await tree.close();
    }
  });

  it.each(compressions)('of %s stops being gone through when that is aborted', async (compression) => {
    const abort = new AbortController();
    const packed = compressed(compression);
    const reason = new Error('no more wanted');
    const opening = opened(compression, packed, {
      signal: abort.signal,
      progress: () => abort.abort(reason),
    });
    await expect(opening).rejects.toBe(reason);
    expect(await readdir(cacheFolder)).toEqual(expect.not.arrayContaining([expect.stringMatching(/index$/)]));
  });
});

it('is told by its name alone', () => {
  const compressionOf = (name: string): Compression | undefined => {
    const format = archiveOfFileName(name)?.format;
    return format?.kind === 'tar' ? format.compression : undefined;
  };
  expect(compressionOf('rootfs.tar')).toBe('none');
  expect(compressionOf('vzdump-lxc-100.tar.zst')).toBe('zstd');
  expect(compressionOf('a.tgz')).toBe('gzip');
  expect(archiveOfFileName('a.gz')).toBeUndefined();
});

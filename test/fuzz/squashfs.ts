import { mkdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openSquashfs } from '../../src/archives/squashfs/squashfs.js';
import { makeLink, makeNode, setXattr } from '../corpus/odd-calls.js';
import { makeSquashfs } from '../src/archives/squashfs/images.js';
import {
  type Fuzzed,
  type Fuzzing,
  fuzzBytes,
  type Limits,
  type OpenImage,
  type Original,
} from './fuzzing.js';

/** squashfs numbers files by where their inodes are. */
const limits: Limits = { milliseconds: 5000, bufferBytes: 160 << 20, inode: 2n ** 43n };
const signal = new AbortController().signal;

/** Damages squashfs images, mostly where their structure is. */
export async function fuzzSquashfs(fuzzing: Fuzzing): Promise<Fuzzed> {
  const originals = await makeOriginals(fuzzing.folder);
  const open: OpenImage = (disk, problem) => openSquashfs(disk, { signal, problem });
  return fuzzBytes(fuzzing, limits, { originals, most: 3, cutEach: 20, damage, open });
}

/** Ranges worth damaging. */
type Ranges = ReadonlyArray<readonly [from: number, to: number]>;

async function makeOriginals(folder: string): Promise<Original<Ranges>[]> {
  const tree = join(folder, 'tree');
  await makeTree(tree);
  const open = ['-noI', '-noX'];
  const options: ReadonlyArray<readonly [name: string, options: readonly string[]]> = [
    ['open tables', [...open, '-b', '4K']],
    ['nothing packed', [...open, '-noD', '-noF', '-b', '8K']],
    ['gzip', ['-b', '16K']],
    ['xz', ['-comp', 'xz', '-b', '8K']],
    ['open tables, xz', [...open, '-comp', 'xz', '-Xbcj', 'x86', '-b', '8K']],
    ['zstd', ['-comp', 'zstd', '-b', '32K']],
    ['open tables, zstd', [...open, '-comp', 'zstd', '-b', '16K']],
    ['lz4', ['-comp', 'lz4', '-b', '8K']],
    ['open tables, lz4', [...open, '-comp', 'lz4', '-no-fragments', '-b', '4K']],
    ['lzo', ['-comp', 'lzo', '-b', '8K']],
    ['open tables, lzo', [...open, '-comp', 'lzo', '-always-use-fragments', '-b', '16K']],
  ];
  const originals: Original<Ranges>[] = [];
  for (const [name, how] of options) {
    const image = join(folder, 'original.squashfs');
    await makeSquashfs(tree, image, ...how);
    const bytes = await readFile(image);
    originals.push({ name, bytes, places: placesOf(bytes) });
    await rm(image);
  }
  await rm(tree, { recursive: true });
  return originals;
}

/** Every type of inode, basic and extended; files with blocks, tails, holes; a folder large enough for an index. */
async function makeTree(tree: string): Promise<void> {
  await mkdir(join(tree, 'large'), { recursive: true });
  await mkdir(join(tree, 'a', 'b'), { recursive: true });
  const text = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(900));
  for (const size of [0, 1, 4096, 5000, 40_000])
    await writeFile(join(tree, 'a', `${size}`), text.subarray(0, size));
  await writeFile(join(tree, 'a', 'program'), (await readFile('/bin/true')).subarray(0, 30_000));
  await writeFile(join(tree, 'a', 'sparse'), 'data');
  await truncate(join(tree, 'a', 'sparse'), 300_000);
  for (let each = 0; each < 110; each++)
    await writeFile(join(tree, 'large', `${each}${'n'.repeat(200)}`), `${each}`);
  const path = (...names: string[]): Buffer => Buffer.from(join(tree, ...names));
  await symlink('a/5000', join(tree, 'link'));
  makeLink(path('a', '5000'), path('a', 'b', 'again'));
  makeNode(path('a', 'null'), 'character', 1, 3);
  makeNode(path('a', 'disk'), 'block', 8, 1);
  makeNode(path('a', 'fifo'), 'fifo');
  makeNode(path('a', 'socket'), 'socket');
  const value = Buffer.from('a value that is stored once, for it is long enough '.repeat(4));
  for (const name of ['program', 'b', '40000', 'null']) {
    setXattr(path('a', name), 'trusted.same', value);
    setXattr(path('a', name), `trusted.${name}`, Buffer.from(name));
  }
}

function placesOf(bytes: Buffer): Array<readonly [number, number]> {
  const place = (at: number): number => Number(bytes.readBigUInt64LE(at));
  const used = place(40);
  const [ids, xattrs, inodes, directories, fragments, exports] = [48, 56, 64, 72, 80, 88].map(place);
  const ends = [inodes, directories, fragments, exports, ids, xattrs, used]
    .filter((each): each is number => each !== undefined && each <= used)
    .sort((one, other) => one - other);
  const places: Array<readonly [number, number]> = [
    [0, 96],
    [0, 96],
    [96, Math.max(97, ends[0] ?? 97)],
  ];
  // Each table's end is the next one's begin.
  for (const [index, from] of ends.entries()) {
    const to = Math.min(ends[index + 1] ?? used, used);
    if (to > from) places.push([from, to], [from, to], [from, Math.min(from + 64, to)]);
  }
  return places;
}

/** Changes something and says what. */
function damage(bytes: Buffer, places: Ranges, random: () => number): string {
  const [from, to] = places[random() % places.length] ?? [0, bytes.length];
  const at = Math.min(from + (random() % (to - from)), bytes.length - 8);
  switch (random() % 7) {
    case 0:
      bytes[at] = random() % 256;
      return `byte ${at} = ${bytes[at]}`;
    case 1: {
      const value = BigInt.asUintN(64, [0n, -1n, 1n << 63n, (1n << 53n) - 1n, 1n << 32n][random() % 5] ?? 0n);
      bytes.writeBigUInt64LE(value, at);
      return `8 bytes at ${at} = ${value}`;
    }
    case 2: {
      const value = [0, 0xffff_ffff, 0x7fff_ffff, 0x100_0000, 0xffff][random() % 5] ?? 0;
      bytes.writeUInt32LE(value, at);
      return `4 bytes at ${at} = ${value}`;
    }
    case 3: {
      const value = random() % 65536;
      bytes.writeUInt16LE(value, at);
      return `2 bytes at ${at} = ${value}`;
    }
    case 4: {
      const length = 1 + (random() % 32);
      const other = random() % bytes.length;
      bytes.copy(bytes, at, other, other + length);
      return `${length} bytes at ${at} = those at ${other}`;
    }
    default: {
      const bit = random() % 8;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
      return `bit ${bit} of byte ${at} flipped`;
    }
  }
}

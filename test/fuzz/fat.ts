import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openExfat } from '../../src/filesystems/exfat/exfat.js';
import { openFat } from '../../src/filesystems/fat/fat.js';
import type { OpenFileSystem } from '../filesystems/kinds.js';
import { sealRegion, sealSet } from '../src/filesystems/exfat/checksums.js';
import {
  type Fuzzed,
  type Fuzzing,
  fileSystemTree,
  fuzzBytes,
  type Limits,
  type Original,
} from './fuzzing.js';

const limits: Limits = { milliseconds: 5000, bufferBytes: 160 << 20, inode: 2n ** 43n };
const mebibyte = 1 << 20;

/** Ranges worth damaging. */
type Ranges = ReadonlyArray<readonly [from: number, to: number]>;

interface FatOriginal extends Original<Ranges> {
  readonly open: OpenFileSystem;
  /** Makes checksums good again, so that what is damaged is believed. */
  readonly seal?: (bytes: Buffer) => void;
}

/** Damages file systems of FAT and exFAT, mostly their tables and folders. */
export function fuzzFat(fuzzing: Fuzzing): Promise<Fuzzed> {
  return fuzzBytes(fuzzing, limits, {
    originals: makeOriginals(fuzzing.folder),
    most: 4,
    cutEach: 20,
    damage,
    seal: (bytes, { seal }, random) => {
      if (!seal || random() % 4 === 0) return undefined;
      seal(bytes);
      return 'checksums made good';
    },
    open: (disk, problem, { open }) => fileSystemTree(open, disk, problem),
  });
}

function makeOriginals(folder: string): FatOriginal[] {
  const tree = join(folder, 'tree');
  makeTree(tree);
  const fat: ReadonlyArray<readonly [name: string, mebibytes: number, options: readonly string[]]> = [
    ['FAT12', 1, ['-F', '12', '-s', '2']],
    ['FAT16', 3, ['-F', '16', '-s', '1']],
    ['FAT32', 34, ['-F', '32', '-s', '1']],
  ];
  const originals = fat.map(([name, mebibytes, options]): FatOriginal => {
    const image = empty(join(folder, name), mebibytes);
    execFileSync('mkfs.fat', [...options, image], { stdio: 'pipe' });
    const env = { ...process.env, LC_ALL: 'C.UTF-8', MTOOLS_SKIP_CHECK: '1' };
    execFileSync('mcopy', ['-s', '-i', image, join(tree, 'A'), '::'], { stdio: 'pipe', env });
    // What is behind its files makes each case slower, and nothing else.
    const bytes = readFileSync(image).subarray(0, 3 * mebibyte);
    const table = bytes.readUInt16LE(14) * bytes.readUInt16LE(11);
    const slots = placesOf(bytes, '          ', 32).map((at) => [at - 64, at + 512] as const);
    return { name, open: openFat, bytes, places: [[0, 96], [table, table + 800], ...slots] };
  });
  return [...originals, exfatOriginal(folder, tree)];
}

function exfatOriginal(folder: string, tree: string): FatOriginal {
  const image = empty(join(folder, 'exFAT'), 3);
  const mountpoint = join(folder, 'mnt');
  mkdirSync(mountpoint);
  execFileSync('mkfs.exfat', ['-c', '512', image], { stdio: 'pipe' });
  const loop = execFileSync('losetup', ['--show', '-f', image], { encoding: 'utf8' }).trim();
  try {
    execFileSync('mount.exfat-fuse', [loop, mountpoint], { stdio: 'pipe' });
    try {
      execFileSync('cp', ['-r', join(tree, 'A'), mountpoint]);
    } finally {
      execFileSync('umount', [mountpoint]);
    }
  } finally {
    execFileSync('losetup', ['-d', loop]);
  }
  const bytes = readFileSync(image);
  const table = bytes.readUInt32LE(80) * 512;
  const sets = placesOf(bytes, '\x85\x02', 32).map((at) => [at, at + 96] as const);
  return {
    name: 'exFAT',
    open: openExfat,
    bytes,
    places: [[64, 120], [table, table + 1200], ...sets, ...sets],
    seal: (damaged) => {
      sealRegion(damaged);
      for (const [at] of sets) sealSet(damaged, at);
    },
  };
}

function empty(image: string, mebibytes: number): string {
  writeFileSync(image, '');
  truncateSync(image, mebibytes * mebibyte);
  return image;
}

/** Folders in folders, long names and short ones, files of some clusters, a folder of many clusters. */
function makeTree(tree: string): void {
  const deep = join(tree, 'A', 'B', 'C', 'D');
  mkdirSync(deep, { recursive: true });
  const text = 'the quick brown fox jumps over the lazy dog; '.repeat(900);
  for (const size of [0, 1, 512, 5000, 40_000])
    writeFileSync(join(tree, 'A', `FILE${size}`), text.slice(0, size));
  for (let each = 0; each < 60; each++)
    writeFileSync(join(tree, 'A', 'B', `a long name ${each}.text`), text.slice(0, 700));
  writeFileSync(join(deep, 'DEEP.TXT'), text.slice(0, 3000));
  utimesSync(join(deep, 'DEEP.TXT'), 1e9, 1e9);
}

/** Where these bytes are, at multiples of a number. */
function placesOf(bytes: Buffer, text: string, unit: number): number[] {
  const sought = Buffer.from(text, 'latin1');
  const places: number[] = [];
  for (let at = 0; at + sought.length <= bytes.length; at += unit) {
    // A folder's own entry, `.`, is where its slots begin.
    const isThere =
      sought[0] === 0x85
        ? bytes.subarray(at, at + sought.length).equals(sought)
        : bytes[at] === 0x2e && bytes.subarray(at + 1, at + 11).equals(sought);
    if (isThere) places.push(at);
  }
  return places;
}

/** Changes something and says what. */
function damage(bytes: Buffer, places: Ranges, random: () => number): string {
  const [from, to] = places[random() % places.length] ?? [0, bytes.length];
  const at = Math.max(0, Math.min(from + (random() % (to - from)), bytes.length - 8));
  switch (random() % 6) {
    case 0: {
      const value = [0, 0xff, 0xe5, 0x85, 0xc0, 0xc1, 0x0f, 0x10, random() % 256][random() % 9] ?? 0;
      bytes[at] = value;
      return `byte ${at} = ${value}`;
    }
    case 1: {
      const value = BigInt.asUintN(64, [0n, -1n, 1n << 63n, (1n << 53n) - 1n, 1n << 32n][random() % 5] ?? 0n);
      bytes.writeBigUInt64LE(value, at);
      return `8 bytes at ${at} = ${value}`;
    }
    case 2: {
      const value = [0, 0xffff_ffff, 0x0fff_fff7, 2, random() % 5000][random() % 5] ?? 0;
      bytes.writeUInt32LE(value, at);
      return `4 bytes at ${at} = ${value}`;
    }
    case 3: {
      const value = [random() % 65_536, random() % 3000, 2, 3][random() % 4] ?? 0;
      bytes.writeUInt16LE(value, at);
      return `2 bytes at ${at} = ${value}`;
    }
    case 4: {
      const [other] = places[random() % places.length] ?? [0];
      bytes.copyWithin(at, other, other + 32);
      return `32 bytes at ${at} = those at ${other}`;
    }
    default: {
      const bit = random() % 8;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
      return `bit ${bit} of byte ${at} flipped`;
    }
  }
}

import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openExt } from '../../src/filesystems/ext/ext.js';
import { Churn } from '../corpus/churn.js';
import { makeNode, setXattr } from '../corpus/odd-calls.js';
import { withLoopMount } from '../filesystems/loop-mount.js';
import {
  type Fuzzed,
  type Fuzzing,
  fileSystemTree,
  fuzzBytes,
  type Limits,
  type OpenImage,
  type Original,
} from './fuzzing.js';

const limits: Limits = { milliseconds: 5000, bufferBytes: 256 << 20, inode: 2n ** 32n };
const pieceBytes = 1024;
/** What files hold, so that it can be told from what the file system says about itself. */
const content = Buffer.from('content '.repeat(10_000));

/** Damages ext file systems where their structure is. */
export async function fuzzExt(fuzzing: Fuzzing): Promise<Fuzzed> {
  const originals = await makeOriginals(fuzzing.folder);
  const open: OpenImage = (disk, problem) => fileSystemTree(openExt, disk, problem);
  return fuzzBytes(fuzzing, limits, { originals, most: 3, cutEach: 25, damage, open });
}

/** Pieces of the image with something to damage in them, in bytes. */
type Pieces = readonly number[];

const small = ['-b', '1024', '-N', '512'];
/** Mostly without checksums, which would find all damage before anything else does. */
const kinds: ReadonlyArray<{ name: string; options: readonly string[]; unclean?: boolean }> = [
  { name: 'ext2', options: ['-t', 'ext2', ...small] },
  { name: 'ext3, not unmounted', options: ['-t', 'ext3', '-J', 'size=1', ...small], unclean: true },
  { name: 'ext4', options: ['-t', 'ext4', '-O', '^metadata_csum,^uninit_bg,^has_journal', ...small] },
  {
    name: 'ext4 with inline data',
    options: ['-t', 'ext4', '-O', '^metadata_csum,^has_journal,inline_data,ea_inode', ...small],
  },
  {
    name: 'ext4, not unmounted',
    options: ['-t', 'ext4', '-O', '^metadata_csum', '-J', 'size=1', ...small],
    unclean: true,
  },
  {
    name: 'ext4 with checksums, not unmounted',
    options: ['-t', 'ext4', '-J', 'size=1', ...small],
    unclean: true,
  },
  {
    name: 'ext4 with blocks of 4 KiB',
    options: ['-t', 'ext4', '-b', '4096', '-O', '^metadata_csum,^has_journal'],
  },
];

async function makeOriginals(folder: string): Promise<Original<Pieces>[]> {
  const originals: Original<Pieces>[] = [];
  const file = join(folder, 'original');
  for (const { name, options, unclean = false } of kinds) {
    await writeFile(file, '');
    await truncate(file, 6 << 20);
    execFileSync('mke2fs', ['-q', '-F', ...options, file], { stdio: 'pipe' });
    let bytes: Buffer | undefined;
    await withLoopMount(file, 'ext4', 'user_xattr,acl', ({ mountpoint, device }) => {
      fill(mountpoint);
      if (!unclean) return;
      execFileSync('sync', ['-f', mountpoint]);
      new Churn(mountpoint, 5).run(30);
      execFileSync('sync', ['-f', mountpoint]);
      // As the disk is now: what is in the journal was not all written to its place.
      bytes = spawnSync('dd', [`if=${file}`, 'bs=1M', 'status=none'], { maxBuffer: 16 << 20 }).stdout;
      if (bytes.length === 0) throw new Error(`${device} can't be copied`);
    });
    bytes ??= readFileSync(file);
    originals.push({ name, bytes, places: placesOf(bytes) });
    await rm(file);
  }
  return originals;
}

/** Every form of files, folders and attributes that fits. */
function fill(root: string): void {
  const path = (...names: string[]): string => join(root, ...names);
  const bytesOf = (...names: string[]): Buffer => Buffer.from(path(...names));
  mkdirSync(path('a', 'b'), { recursive: true });
  for (const size of [0, 1, 50, 150, 4096, 5000, 40_000])
    writeFileSync(path('a', `${size}`), content.subarray(0, size));
  mkdirSync(path('large'));
  for (let each = 0; each < 30; each++) writeFileSync(path('large', `${each}${'n'.repeat(220)}`), '');
  const pieces = openSync(path('a', 'pieces'), 'w');
  for (let each = 0; each < 40; each++) writeSync(pieces, content, 0, 1024, each * 8192);
  writeSync(pieces, content, 0, 1024, 2 << 20);
  closeSync(pieces);
  for (let each = 0; each < 12; each++)
    setXattr(bytesOf('a', '50'), `user.${each}`, content.subarray(0, each * 8));
  setXattr(bytesOf('a', '4096'), 'trusted.some', content.subarray(0, 600));
  execFileSync('setfacl', ['-m', 'u:1234:r,g:77:rwx', path('a', '5000')]);
  execFileSync('setfacl', ['-d', '-m', 'u:1234:r', path('a', 'b')]);
  symlinkSync('large', path('a', 'link'));
  symlinkSync('l'.repeat(900), path('a', 'long-link'));
  makeNode(bytesOf('a', 'null'), 'character', 1, 3);
  makeNode(bytesOf('a', 'disk'), 'block', 259, 100_000);
  makeNode(bytesOf('a', 'fifo'), 'fifo');
}

function placesOf(bytes: Buffer): number[] {
  const places: number[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    const isContent = piece.subarray(0, 8).equals(content.subarray(0, 8));
    if (isContent || piece.every((byte) => byte === 0 || byte === 0xff)) continue;
    // The superblock leads to everything else.
    for (let weight = at === 1024 ? 12 : 1; weight > 0; weight--) places.push(at);
  }
  return places;
}

/** Changes something and says what. */
function damage(bytes: Buffer, places: Pieces, random: () => number): string {
  const place = places[random() % places.length] ?? 0;
  // Headers, counts and first entries are what everything hangs on.
  const span = place === 1024 ? 0x180 : random() % 3 === 0 ? 64 : pieceBytes;
  const at = (place + (random() % span)) & ~3;
  switch (random() % 7) {
    case 0:
      bytes[at] = random() % 256;
      return `byte ${at} = ${bytes[at]}`;
    case 1: {
      const value = [0, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff, 0x100_0000][random() % 6] ?? 0;
      bytes.writeUInt32LE(value, at);
      return `4 bytes at ${at} = ${value}`;
    }
    case 2: {
      const value = random() % 65536;
      bytes.writeUInt16LE(value, at + 2 * (random() % 2));
      return `2 bytes at or after ${at} = ${value}`;
    }
    case 3: {
      const length = 4 << (random() % 4);
      const other = ((places[random() % places.length] ?? 0) + (random() % pieceBytes)) & ~3;
      bytes.copy(bytes, at, other, other + length);
      return `${length} bytes at ${at} = those at ${other}`;
    }
    case 4: {
      const value = random() % 8192;
      bytes.writeUInt32LE(value, at);
      return `4 bytes at ${at} = ${value}`;
    }
    case 5: {
      const other = places[random() % places.length] ?? 0;
      bytes.copy(bytes, place, other, other + pieceBytes);
      return `the piece at ${place} = the one at ${other}`;
    }
    default: {
      const bit = random() % 8;
      const byte = at + (random() % 4);
      bytes[byte] = (bytes[byte] ?? 0) ^ (1 << bit);
      return `bit ${bit} of byte ${byte} flipped`;
    }
  }
}

import { execFileSync } from 'node:child_process';
import { closeSync, openSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '../../src/filesystems/crc32c.js';
import { openXfs } from '../../src/filesystems/xfs/xfs.js';
import { Churn } from '../corpus/churn.js';
import { makeNode, setXattr } from '../corpus/odd-calls.js';
import { output } from '../e2e/served-mount.js';
import { withLoopMount } from '../filesystems/loop-mount.js';
import { ChangedImage, SparseImage } from '../filesystems/sparse-image.js';
import { drawn, type Fuzzed, type Fuzzing, fileSystemTree, fuzzImages, type Limits } from './fuzzing.js';

const limits: Limits = { milliseconds: 10_000, bufferBytes: 256 << 20, inode: 2n ** 64n };

/** Damages XFS file systems where their structure is, mostly with checksums that fit. */
export async function fuzzXfs(fuzzing: Fuzzing): Promise<Fuzzed> {
  const originals = await makeOriginals(fuzzing.folder);
  return fuzzImages(fuzzing, limits, (random) => {
    const original = drawn(originals, random);
    const size = random() % 25 === 0 ? random() % original.image.size : original.image.size;
    const disk = new ChangedImage(original.image, size);
    const changes: string[] = size === original.image.size ? [] : [`cut to ${size}`];
    for (let left = 1 + (random() % 8); left > 0; left--) changes.push(damage(disk, original, random));
    const told = `${original.name} with ${changes.join(', ')}`;
    return { told, disk, open: (problem) => fileSystemTree(openXfs, disk, problem) };
  });
}

interface Original {
  readonly name: string;
  readonly image: SparseImage;
  /** Bytes. */
  readonly blockSize: number;
  readonly inodeSize: number;
  /** Where there is something to damage, in bytes: blocks of metadata. */
  readonly places: readonly number[];
  /** Where records of the log begin, in bytes. */
  readonly records: readonly number[];
}

/** Small ones are for the kernel's own tests, which say so by these. */
const smallAllowed = { TEST_DIR: '/', TEST_DEV: '/', QA_CHECK_FS: '1' };

async function makeOriginals(folder: string): Promise<Original[]> {
  const kinds = [
    { name: 'as it is made', options: ['-i', 'nrext64=1'], unclean: false },
    { name: 'small blocks', options: ['-b', 'size=1024', '-m', 'rmapbt=1'], unclean: false },
    { name: 'large folder blocks', options: ['-b', 'size=1024', '-n', 'size=8192'], unclean: false },
    { name: 'not unmounted', options: ['-b', 'size=1024'], unclean: true },
  ];
  const originals: Original[] = [];
  const file = join(folder, 'original');
  for (const { name, options, unclean } of kinds) {
    await make(file, '-m', 'crc=1', ...options);
    await withLoopMount(file, 'xfs', 'nouuid', async ({ mountpoint }) => {
      await fill(mountpoint);
      if (!unclean) return;
      execFileSync('sync', ['-f', mountpoint]);
      new Churn(mountpoint, 5).run(200);
      execFileSync('xfs_io', ['-x', '-c', 'shutdown -f', mountpoint]);
    });
    originals.push(originalOf(name, file));
    await rm(file);
  }
  // Version 4 has no checksums. This host's kernel does not write it, mkfs.xfs and xfs_db do.
  const protofile = join(folder, 'protofile');
  await writeFile(protofile, protofileText());
  await make(file, '-m', 'crc=0', '-b', 'size=1024', '-n', 'ftype=0', '-p', protofile);
  const inode = (await output('xfs_db', '-c', 'path /file-1', '-c', 'stat', file)).match(/inode (\d+)/)?.[1];
  for (let each = 0; each < 12; each++) {
    const attribute = `attr_set -u -v ${each * 60} name-${each}`;
    await output('xfs_db', '-x', '-c', `inode ${inode ?? 131}`, '-c', attribute, file);
  }
  originals.push(originalOf('version 4', file), originalOf('version 4', file));
  await rm(file);
  return originals;
}

async function make(file: string, ...options: string[]): Promise<void> {
  await writeFile(file, '');
  truncateSync(file, 24 * 1024 * 1024);
  execFileSync('mkfs.xfs', ['-q', '-f', ...options, file], { env: { ...process.env, ...smallAllowed } });
}

/** Every form of files, folders and attributes that fits. */
async function fill(root: string): Promise<void> {
  await mkdir(join(root, 'a', 'b'), { recursive: true });
  for (const size of [0, 1, 4096, 5000, 70_000])
    writeFileSync(join(root, 'a', `${size}`), Buffer.alloc(size, 7));
  for (const [name, files] of [
    ['short', 3],
    ['block', 15],
    ['leaf', 90],
    ['node', 200],
  ] as const) {
    await mkdir(join(root, name));
    for (let each = 0; each < files; each++) writeFileSync(join(root, name, `${each}${'n'.repeat(120)}`), '');
  }
  const pieces = openSync(join(root, 'a', 'pieces'), 'w');
  for (let each = 0; each < 300; each++) writeSync(pieces, Buffer.alloc(1024, each), 0, 1024, each * 8192);
  closeSync(pieces);
  const value = Buffer.alloc(3000, 0x76);
  for (const [name, attributes] of [
    ['1', 2],
    ['4096', 12],
    ['5000', 90],
  ] as const) {
    for (let each = 0; each < attributes; each++)
      setXattr(Buffer.from(join(root, 'a', name)), `user.${each}`, value.subarray(0, (each * 37) % 400));
  }
  setXattr(Buffer.from(join(root, 'a', '4096')), 'trusted.large', value);
  execFileSync('setfacl', ['-m', 'u:1234:r,g:77:rwx', join(root, 'a', '5000')]);
  symlinkSync('short', join(root, 'a', 'link'));
  symlinkSync('l'.repeat(1000), join(root, 'a', 'long-link'));
  makeNode(Buffer.from(join(root, 'a', 'null')), 'character', 1, 3);
  makeNode(Buffer.from(join(root, 'a', 'fifo')), 'fifo');
}

/** What mkfs.xfs is to make: see its manual page. */
function protofileText(): string {
  const files = Array.from({ length: 150 }, (_, each) => `file-${each} ---644 0 0 /etc/hostname`);
  const few = files.slice(0, 4);
  const large = [
    'bash ---755 0 0 /bin/ls',
    'device c--600 0 0 1 3',
    'link l--777 0 0 target',
    'pipe p--600 0 0',
  ];
  return ['/dev/null', '0 0', 'd--755 0 0', ...large, ...files, 'few d--755 0 0', ...few, '$', '$', ''].join(
    '\n',
  );
}

function originalOf(name: string, file: string): Original {
  const image = new SparseImage(file);
  const first = image.page(0) ?? Buffer.alloc(4096);
  const blockSize = first.readUInt32BE(4);
  const inodeSize = first.readUInt16BE(104);
  const disk = new ChangedImage(image);
  const places: number[] = [];
  const records: number[] = [];
  for (const page of image.places) {
    for (let at = page; at < page + 4096; at += Math.min(blockSize, 4096)) {
      const kind = kindOf(disk.bytes(at, Math.min(blockSize, 4096)));
      if (kind === 'other') continue;
      if (kind === 'log') {
        for (let record = at; record < at + Math.min(blockSize, 4096); record += 512)
          if (disk.bytes(record, 4).readUInt32BE(0) === recordMagic) records.push(record);
        continue;
      }
      // The superblock and the inodes lead to everything else.
      const weight = at === 0 ? 40 : kind === 'inodes' ? 3 : 4;
      for (let each = 0; each < weight; each++) places.push(at);
    }
  }
  return { name, image, blockSize, inodeSize, places, records };
}

const recordMagic = 0xfeedbabe;
const folderMagics = [0x58444233, 0x58444433, 0x58443242, 0x58443244];
const treeMagics = [0x3ebe, 0x3df1, 0x3dff, 0x3bee, 0xfebe, 0xd2f1, 0xd2ff, 0xfbee];

function kindOf(
  block: Buffer,
): 'superblock' | 'inodes' | 'folder' | 'tree' | 'map' | 'value' | 'log' | 'other' {
  const magic = block.readUInt32BE(0);
  if (magic === 0x58465342) return 'superblock';
  if (block.readUInt16BE(0) === 0x494e) return 'inodes';
  if (folderMagics.includes(magic)) return 'folder';
  if (treeMagics.includes(block.readUInt16BE(8))) return 'tree';
  if (magic === 0x424d4133 || magic === 0x424d4150) return 'map';
  if (magic === 0x58534c4d || magic === 0x5841524d) return 'value';
  for (let at = 0; at < block.length; at += 512) if (block.readUInt32BE(at) === recordMagic) return 'log';
  return 'other';
}

const extremes32 = [0, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff, 0x100_0000];
const extremes64 = [0n, -1n, 1n << 63n, (1n << 53n) - 1n, 1n << 32n, (1n << 63n) - 1n];

/** Changes something, mostly with the checksum that belongs to it, and says what. */
function damage(disk: ChangedImage, original: Original, random: () => number): string {
  const { places, records, blockSize, inodeSize } = original;
  if (records.length > 1 && random() % 2 === 0) return damageRecord(disk, records, random);
  const place = places[random() % places.length] ?? 0;
  const length = Math.min(blockSize, 4096);
  if (place + length > disk.size) return 'nothing';
  const block = disk.bytes(place, length);
  const kind = kindOf(block);
  const slot = kind === 'inodes' ? (random() % Math.max(length / inodeSize, 1)) * inodeSize : 0;
  // Headers, counts and first entries are what everything hangs on.
  const span = kind === 'inodes' ? inodeSize : kind === 'superblock' ? 300 : random() % 2 ? 128 : length;
  const at = Math.min(slot + (random() % span), length - 8);
  const how = change(block, at, random);
  if (random() % 5 > 0) seal(block, kind, slot, inodeSize);
  disk.change(place, block);
  return `${kind} at ${place}: ${how}`;
}

/** Changes something in a record of the log, where its operations and what they describe are. */
function damageRecord(disk: ChangedImage, records: readonly number[], random: () => number): string {
  const place = records[random() % records.length] ?? 0;
  if (place + 512 > disk.size) return 'nothing';
  const header = disk.bytes(place, 512);
  const headers = Math.max(Math.ceil(header.readUInt32BE(320) / 32768), 1) * 512;
  const length = header.readUInt32BE(12);
  if (length > 262144 || headers > 4096 || place + headers + length > disk.size) return 'nothing';
  const record = disk.bytes(place, headers + length);
  const inHeader = random() % 8 === 0;
  const near = Math.min(length, random() % 3 === 0 ? length : 600);
  const at = inHeader ? random() % 340 : headers + (random() % Math.max(near, 1));
  const how = change(record, Math.min(at, record.length - 8), random);
  if (random() % 8 > 0) {
    record.writeUInt32LE(0, 32);
    let register = crc32c(0xffff_ffff, record, 0, 328);
    for (let from = 512; from < headers; from += 512) register = crc32c(register, record, from, from + 260);
    record.writeUInt32LE(~crc32c(register, record, headers) >>> 0, 32);
  }
  disk.change(place, record);
  return `record at ${place}: ${how}`;
}

function change(block: Buffer, at: number, random: () => number): string {
  switch (random() % 7) {
    case 0:
      block[at] = random() % 256;
      return `byte ${at} = ${block[at]}`;
    case 1: {
      const value = BigInt.asUintN(64, extremes64[random() % extremes64.length] ?? 0n);
      block.writeBigUInt64BE(value, at & ~7);
      return `8 bytes at ${at & ~7} = ${value}`;
    }
    case 2: {
      const value = extremes32[random() % extremes32.length] ?? 0;
      block.writeUInt32BE(value, at & ~3);
      return `4 bytes at ${at & ~3} = ${value}`;
    }
    case 3: {
      const value = random() % 65536;
      block.writeUInt16BE(value, at & ~1);
      return `2 bytes at ${at & ~1} = ${value}`;
    }
    case 4: {
      const count = 1 + (random() % 32);
      const other = random() % block.length;
      block.copy(block, at, other, other + count);
      return `${count} bytes at ${at} = those at ${other}`;
    }
    case 5: {
      const value = random() % 64;
      block.writeUInt32BE(value, at & ~3);
      return `4 bytes at ${at & ~3} = ${value}`;
    }
    default: {
      const bit = random() % 8;
      block[at] = (block[at] ?? 0) ^ (1 << bit);
      return `bit ${bit} of byte ${at} flipped`;
    }
  }
}

/** Writes the checksum that a block or an inode should have. */
function seal(block: Buffer, kind: ReturnType<typeof kindOf>, slot: number, inodeSize: number): void {
  const places = { superblock: 224, inodes: 100, folder: 4, tree: 12, map: 64, value: 12 } as const;
  if (kind === 'log' || kind === 'other') return;
  const sector = kind === 'superblock' ? 512 : kind === 'inodes' ? inodeSize : block.length;
  const bytes = block.subarray(slot, slot + sector);
  bytes.writeUInt32LE(0, places[kind]);
  bytes.writeUInt32LE(~crc32c(0xffff_ffff, bytes) >>> 0, places[kind]);
}

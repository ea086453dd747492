import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isExfat, openExfat } from '../../../../src/filesystems/exfat/exfat.js';
import { ImageTree } from '../image-tree.js';
import { sealSet } from './checksums.js';

const mebibyte = 1024 * 1024;
const text = Buffer.from('all work and no play makes jack a dull boy\n'.repeat(1000));
let folder: string;
let original: Buffer;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-exfat-unit-'));
  const image = join(folder, 'image');
  const mountpoint = join(folder, 'mnt');
  writeFileSync(image, '');
  truncateSync(image, 16 * mebibyte);
  execFileSync('mkfs.exfat', ['-L', 'Größe', '-c', '4K', image], { stdio: 'pipe' });
  mkdirSync(mountpoint);
  const loop = execFileSync('losetup', ['--show', '-f', image], { encoding: 'utf8' }).trim();
  try {
    execFileSync('mount.exfat-fuse', [loop, mountpoint], { stdio: 'pipe' });
    try {
      writeFileSync(join(mountpoint, 'file'), text);
      mkdirSync(join(mountpoint, 'folder'));
      writeFileSync(join(mountpoint, 'folder', 'ein Grüßchen 😀'), 'inner');
    } finally {
      execFileSync('umount', [mountpoint]);
    }
  } finally {
    execFileSync('losetup', ['-d', loop]);
  }
  original = readFileSync(image);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The place of the set of entries whose name is that, in UTF-16. */
function setOf(bytes: Buffer, name: string): number {
  return bytes.indexOf(Buffer.from(name, 'utf16le')) - 2 - 64;
}

async function changed(name: string, change: (bytes: Buffer, set: number) => void): Promise<ImageTree> {
  const bytes = Buffer.from(original);
  const set = setOf(bytes, name);
  change(bytes, set);
  sealSet(bytes, set);
  return ImageTree.open(openExfat, bytes);
}

describe('an exFAT file system', () => {
  it('tells its label and its number as blkid does, and shows what is in it', async () => {
    const tree = await ImageTree.open(openExfat, original);
    const blkid = execFileSync('blkid', ['-p', '-o', 'export', join(folder, 'image')], { encoding: 'utf8' });
    expect(blkid).toContain(`UUID=${tree.facts.uuid}\n`);
    expect(tree.facts.label).toBe('Größe');
    expect((await tree.names('/')).sort()).toEqual(['file', 'folder']);
    expect(await tree.names('folder')).toEqual(['ein Grüßchen 😀']);
    expect((await tree.read('file')).equals(text)).toBe(true);
    expect((await tree.read('folder/ein Grüßchen 😀')).toString()).toBe('inner');
    expect(tree.problems).toEqual([]);
  });

  it('reads as zeros what of a file was never written, whatever is there on the disk', async () => {
    const tree = await changed('file', (bytes, set) => bytes.writeBigUInt64LE(5000n, set + 32 + 8));
    const expected = Buffer.concat([text.subarray(0, 5000), Buffer.alloc(text.length - 5000)]);
    expect((await tree.read('file')).equals(expected)).toBe(true);
    expect((await tree.read('file', 4990, 20)).equals(expected.subarray(4990, 5010))).toBe(true);
    expect(await tree.firstHole('file')).toBe(5000);
  });

  it.each([
    ['two hours east of Greenwich', 0x88, -7200],
    ['three and a half hours west', 0x80 | (0x7f & -14), 12_600],
    ['in a zone that is not told', 0x08, 0],
  ])('shows times %s', async (_, zone, seconds) => {
    const tree = await changed('file', (bytes, set) => {
      bytes.writeUInt32LE((((44 << 9) | (2 << 5) | 29) << 16) | ((12 << 11) | (30 << 5) | 5), set + 12);
      bytes[set + 21] = 157;
      bytes[set + 23] = zone;
    });
    expect((await tree.attributes('file')).modified).toEqual({
      seconds: Date.UTC(2024, 1, 29, 12, 30, 11) / 1000 + seconds,
      nanoseconds: 570_000_000,
    });
  });

  it('is opened by its second boot region where the first is damaged, and not without either', async () => {
    const bytes = Buffer.from(original);
    bytes[120] = 1;
    const tree = await ImageTree.open(openExfat, bytes);
    expect((await tree.names('/')).sort()).toEqual(['file', 'folder']);
    expect(tree.problems).toEqual([
      'The checksum of the exFAT boot region is wrong; the second one is taken.',
    ]);
    bytes[12 * 512 + 120] = 1;
    await expect(ImageTree.open(openExfat, bytes)).rejects.toThrow('the checksums of both boot regions');
  });

  it('leaves out a file whose entries are damaged, and says where', async () => {
    const bytes = Buffer.from(original);
    const set = setOf(bytes, 'folder');
    bytes.writeUInt8(bytes.readUInt8(set + 8) ^ 1, set + 8);
    const tree = await ImageTree.open(openExfat, bytes);
    expect(await tree.names('/')).toEqual(['file']);
    expect(tree.problems).toEqual([`A file is left out: its entries in a folder, at ${set}, are damaged.`]);
  });

  it.each([
    [
      'more bytes than the volume',
      (bytes: Buffer, set: number) => bytes.writeBigUInt64LE(1n << 40n, set + 32 + 24),
    ],
    [
      'a first cluster beyond the last',
      (bytes: Buffer, set: number) => bytes.writeUInt32LE(0x7fff_ffff, set + 32 + 20),
    ],
  ])('gives an error for a file with %s', async (_, change) => {
    const tree = await changed('file', (bytes, set) => void change(bytes, set));
    await expect(tree.read('file')).rejects.toMatchObject({ code: 'EIO' });
    expect(await tree.names('folder')).toHaveLength(1);
  });

  it('is known by its boot sector', () => {
    expect(isExfat(original.subarray(0, 65_536))).toBe(true);
    for (const [at, value] of [
      [3, 0],
      [20, 1],
      [108, 8],
      [109, 30],
      [110, 3],
      [510, 0],
    ] as const) {
      const bytes = Buffer.from(original.subarray(0, 512));
      bytes[at] = value;
      expect([at, isExfat(bytes)]).toEqual([at, false]);
    }
  });
});

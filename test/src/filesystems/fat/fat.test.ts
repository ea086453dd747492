import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isFat, openFat } from '../../../../src/filesystems/fat/fat.js';
import { ImageTree } from '../image-tree.js';

const mebibyte = 1024 * 1024;
const text = Buffer.from('all work and no play makes jack a dull boy\n'.repeat(1000));
let folder: string;
/** FAT16 with clusters of 2 KiB. */
let original: Buffer;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-fat-unit-'));
  mkdirSync(join(folder, 'tree', 'SUB', 'INNER'), { recursive: true });
  writeFileSync(join(folder, 'tree', 'FILE.TXT'), text);
  writeFileSync(join(folder, 'tree', 'SUB', 'a long name.text'), 'long');
  writeFileSync(join(folder, 'tree', 'SUB', 'INNER', 'DEEP.TXT'), 'deep');
  original = made('image', 16, ['-F', '16', '-s', '4', '-n', 'A LABEL', '-i', '1234abcd']);
});
afterAll(() => rmSync(folder, { recursive: true }));

function made(name: string, mebibytes: number, options: readonly string[]): Buffer {
  const image = join(folder, name);
  writeFileSync(image, '');
  truncateSync(image, mebibytes * mebibyte);
  execFileSync('mkfs.fat', [...options, image], { stdio: 'pipe' });
  const files = ['FILE.TXT', 'SUB'].map((each) => join(folder, 'tree', each));
  const env = { ...process.env, LC_ALL: 'C.UTF-8', MTOOLS_SKIP_CHECK: '1' };
  execFileSync('mcopy', ['-s', '-i', image, ...files, '::'], { stdio: 'pipe', env });
  return readFileSync(image);
}

/** The image with something changed: `at` finds the slot of a short name, `table` the place of a cluster's entry in the first table. */
async function changed(
  change: (bytes: Buffer, at: (short: string) => number, table: (cluster: number) => number) => void,
): Promise<ImageTree> {
  const bytes = Buffer.from(original);
  const table = bytes.readUInt16LE(14) * bytes.readUInt16LE(11);
  change(
    bytes,
    (short) => bytes.indexOf(short, 0, 'latin1'),
    (cluster) => table + cluster * 2,
  );
  return ImageTree.open(openFat, bytes);
}

describe('a FAT file system', () => {
  it('tells its label and its number as blkid does', async () => {
    const { facts } = await changed(() => undefined);
    const blkid = execFileSync('blkid', ['-p', '-o', 'export', join(folder, 'image')], { encoding: 'utf8' });
    expect(blkid).toContain(`UUID=${facts.uuid}\n`);
    expect(blkid).toContain('LABEL=A\\ LABEL\n');
    expect(facts).toEqual({ kind: 'vfat', uuid: '1234-ABCD', label: 'A LABEL' });
  });

  it.each([
    ['12', 1],
    ['16', 16],
    ['32', 40],
  ])('of %s bits gives any part of a file, in any order', async (bits, mebibytes) => {
    const tree = await ImageTree.open(openFat, made(`fat${bits}`, mebibytes, ['-F', bits, '-s', '1']));
    expect((await tree.read('FILE.TXT')).equals(text)).toBe(true);
    for (const [offset, length] of [
      [42_000, 999],
      [511, 2],
      [0, 1],
      [30_000, 12_000],
    ] as const)
      expect(
        (await tree.read('FILE.TXT', offset, length)).equals(text.subarray(offset, offset + length)),
      ).toBe(true);
    expect(tree.problems).toEqual([]);
  });

  it('shows short names in small letters where Windows NT says so, and code page 437 in UTF-8', async () => {
    const tree = await changed((bytes, at) => {
      const file = at('FILE    TXT');
      bytes.write('\x8eFI\xe1    TXT', file, 'latin1');
      bytes[file + 12] = 0x08;
      const deep = at('DEEP    TXT');
      bytes.write('\x05EEP', deep, 'latin1');
      bytes[deep + 12] = 0x10;
    });
    expect(await tree.names('/')).toEqual(['äfiß.TXT', 'SUB']);
    expect(await tree.names('SUB/INNER')).toEqual(['σEEP.txt']);
  });

  it('shows a short name where the checksum of the long one is wrong, and no deleted file', async () => {
    const broken = await changed((bytes, at) => {
      bytes.writeUInt8(bytes.readUInt8(at('ALONGN~1') - 32 + 13) ^ 1, at('ALONGN~1') - 32 + 13);
    });
    expect(await broken.names('SUB')).toEqual(['INNER', 'ALONGN~1.TEX']);
    const deleted = await changed((bytes, at) => {
      bytes[at('ALONGN~1')] = 0xe5;
    });
    expect(await deleted.names('SUB')).toEqual(['INNER']);
  });

  it('shows surrogate pairs as one character, and halves of them not at all', async () => {
    const tree = await changed((bytes, at) => {
      const long = at('ALONGN~1') - 32;
      bytes.write('a\ud83d\ude00\ud83db', long + 1, 'utf16le');
    });
    expect((await tree.names('SUB'))[1]).toMatch(/^a😀b/);
  });

  it('shows times as Linux does, also impossible ones', async () => {
    const tree = await changed((bytes, at) => {
      const file = at('FILE    TXT');
      bytes.writeUInt16LE((23 << 11) | (59 << 5) | 29, file + 22);
      bytes.writeUInt16LE((44 << 9) | (2 << 5) | 29, file + 24);
      bytes.writeUInt16LE(0, file + 18);
    });
    const { modified, accessed, changed: changedAt } = await tree.attributes('FILE.TXT');
    expect(modified).toEqual({ seconds: Date.UTC(2024, 1, 29, 23, 59, 58) / 1000, nanoseconds: 0 });
    expect(changedAt).toEqual(modified);
    expect(accessed.seconds).toBe(Date.UTC(1980, 0, 1) / 1000);
  });

  it('is read by the table that is in use, where the others are not kept like it', async () => {
    const bytes = made('mirrors', 40, ['-F', '32', '-s', '1']);
    const reserved = bytes.readUInt16LE(14) * 512;
    bytes.fill(0, reserved, reserved + bytes.readUInt32LE(36) * 512);
    bytes.writeUInt16LE(0x81, 40);
    const tree = await ImageTree.open(openFat, bytes);
    expect((await tree.read('FILE.TXT')).equals(text)).toBe(true);
  });
});

describe('a damaged FAT file system', () => {
  it.each([
    ['that ends too early', 0xffff, 'file .* is damaged: it has only 3 clusters'],
    ['that leads to a free cluster', 0, 'it is free'],
    ['that leads to a bad cluster', 0xfff7, 'it is marked as bad'],
    ['that leads out of the disk', 0xffe0, 'cluster 65504 follows it'],
  ])('reads a chain %s up to there, and then not', async (_, value, reason) => {
    const tree = await changed((bytes, at, table) => {
      const first = bytes.readUInt16LE(at('FILE    TXT') + 26);
      bytes.writeUInt16LE(value, table(first + 2));
    });
    expect((await tree.read('FILE.TXT', 0, 6144)).equals(text.subarray(0, 6144))).toBe(true);
    await expect(tree.read('FILE.TXT', 6144, 1)).rejects.toThrow(new RegExp(reason));
    expect((await tree.read('SUB/a long name.text')).toString()).toBe('long');
    expect(tree.problems).toHaveLength(1);
  });

  it('ends a chain that goes in circles, whatever size the file is said to have', async () => {
    const tree = await changed((bytes, at, table) => {
      const file = at('FILE    TXT');
      const first = bytes.readUInt16LE(file + 26);
      bytes.writeUInt16LE(first, table(first + 4));
      bytes.writeUInt32LE(0xffff_ffff, file + 28);
    });
    await expect(tree.read('FILE.TXT', 0xf000_0000, 4096)).rejects.toThrow('goes in circles');
    const looped = await changed((bytes, at, table) => {
      const sub = bytes.readUInt16LE(at('SUB     ') + 26);
      bytes.writeUInt16LE(sub, table(sub));
    });
    expect((await looped.names('/')).sort()).toEqual(['FILE.TXT', 'SUB']);
  });

  it('is walked once where a folder holds itself, or one that it is in', async () => {
    const tree = await changed((bytes, at) => {
      const sub = bytes.readUInt16LE(at('SUB     ') + 26);
      bytes.writeUInt16LE(sub, at('INNER   ') + 26);
    });
    expect(await tree.names('SUB')).toEqual(['INNER', 'a long name.text']);
    expect(await tree.names('SUB/INNER')).toEqual(['INNER', 'a long name.text']);
    await expect(tree.names('SUB/INNER/INNER')).rejects.toThrow('stands in two places');
  });

  it('is shown as far as the disk goes, where that was cut short', async () => {
    const bytes = original.subarray(0, 8 * mebibyte);
    const tree = await ImageTree.open(openFat, bytes);
    expect((await tree.read('FILE.TXT')).equals(text)).toBe(true);
    expect(tree.problems).toEqual([
      'The disk is cut short: it has 8388608 bytes, and its FAT file system 16777216.',
    ]);
  });
});

describe('what looks like FAT', () => {
  const programs: ReadonlyArray<readonly [string, ...string[]]> = [
    ['mkfs.exfat'],
    ['mkntfs', '--force', '--fast', '--quiet'],
    ['mkfs.ext4', '-q'],
    ['mkfs.xfs', '-q'],
  ];
  it.each(programs)('is none: %s', (program, ...options) => {
    const image = join(folder, 'other');
    writeFileSync(image, '');
    truncateSync(image, 320 * mebibyte);
    execFileSync(program, [...options, image], { stdio: 'pipe' });
    expect(isFat(readFileSync(image).subarray(0, 65_536))).toBe(false);
  });

  it('is none where a field is impossible, or it is what BitLocker To Go shows to others', () => {
    expect(isFat(original.subarray(0, 65_536))).toBe(true);
    for (const [at, value] of [
      [0, 0],
      [11, 1],
      [13, 3],
      [14, 0],
      [16, 0],
      [21, 1],
      [23, 255],
      [510, 0],
    ] as const) {
      const bytes = Buffer.from(original.subarray(0, 512));
      bytes[at] = value;
      expect([at, isFat(bytes)]).toEqual([at, false]);
    }
    const bitLocker = Buffer.from(original.subarray(0, 512));
    Buffer.from('3bd66749292ed84a8399f6a339e3d001', 'hex').copy(bitLocker, 424);
    expect(isFat(bitLocker)).toBe(false);
  });
});

import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { crc32c } from '../../../../src/filesystems/crc32c.js';
import { FileSystemTree } from '../../../../src/filesystems/file-system-tree.js';
import { isXfs, openXfs } from '../../../../src/filesystems/xfs/xfs.js';
import { Problems } from '../../../../src/problems.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { setXattr } from '../../../corpus/odd-calls.js';
import { withLoopMount } from '../../../filesystems/loop-mount.js';
import { ChangedImage, SparseImage } from '../../../filesystems/sparse-image.js';
import { contentOf, find, listAll, unhurried } from '../../archives/host-folder/walk.js';

/** By these the kernel's own tests say that they mean what mkfs.xfs refuses otherwise: small file systems. */
const smallAllowed = { TEST_DIR: '/', TEST_DEV: '/', QA_CHECK_FS: '1' };
const blockSize = 4096;
const many = 300;
/** Where checksums stand. */
const checksum = { superblock: 224, inode: 100, folder: 4, tree: 12, map: 64 } as const;

const sound = { name: 'sound', text: 'what nobody damaged' };

async function make(image: string, end: (mountpoint: string) => void): Promise<SparseImage> {
  writeFileSync(image, '');
  truncateSync(image, 24 * 1024 * 1024);
  execFileSync('mkfs.xfs', ['-q', '-f', image], { env: { ...process.env, ...smallAllowed } });
  await withLoopMount(image, 'xfs', 'nouuid', ({ mountpoint }) => {
    writeFileSync(join(mountpoint, sound.name), sound.text);
    writeFileSync(join(mountpoint, 'file'), Buffer.alloc(9000, 'file'));
    mkdirSync(join(mountpoint, 'folder'));
    for (let each = 0; each < many; each++)
      writeFileSync(join(mountpoint, 'folder', `file number ${each}`), '');
    for (let each = 0; each < 90; each++)
      setXattr(Buffer.from(join(mountpoint, 'file')), `user.${each}`, Buffer.alloc(100, each));
    const pieces = openSync(join(mountpoint, 'pieces'), 'w');
    for (let each = 0; each < 200; each++) writeSync(pieces, Buffer.alloc(4096, 1), 0, 4096, each * 12_288);
    closeSync(pieces);
    end(mountpoint);
  });
  return new SparseImage(image);
}

interface Read {
  readonly tree: Tree;
  readonly problems: readonly string[];
}

async function read(disk: ChangedImage): Promise<Read> {
  const sentences: string[] = [];
  const problems = new Problems((sentence) => sentences.push(sentence));
  const fileSystem = await openXfs(disk, { signal: unhurried, problem: (each) => problems.add(each) });
  return { tree: new FileSystemTree(fileSystem, problems), problems: sentences };
}

const isSound = async (tree: Tree): Promise<void> =>
  expect((await contentOf(tree, await find(tree, sound.name))).toString()).toBe(sound.text);

describe('a damaged XFS file system', () => {
  let folder: string;
  let image: SparseImage;
  let unclean: SparseImage;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-xfs-'));
    image = await make(join(folder, 'image'), () => undefined);
    unclean = await make(join(folder, 'unclean'), (mountpoint) => {
      execFileSync('sync', ['-f', mountpoint]);
      writeFileSync(join(mountpoint, 'last'), 'only in the log');
      execFileSync('xfs_io', ['-x', '-c', 'shutdown -f', mountpoint]);
    });
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** A disk on which something was changed in a range; with the right checksum where one is to be had. */
  const changed = (offset: number, length: number, at: number | null, change: (bytes: Buffer) => void) => {
    const disk = new ChangedImage(image);
    const bytes = disk.bytes(offset, length);
    change(bytes);
    if (at !== null) {
      bytes.writeUInt32LE(0, at);
      bytes.writeUInt32LE(~crc32c(0xffff_ffff, bytes) >>> 0, at);
    }
    disk.change(offset, bytes);
    return disk;
  };
  const superblock = (change: (bytes: Buffer) => void, at: number | null = checksum.superblock) =>
    changed(0, 512, at, change);

  /** Where the inode of a file is: of a small file system all are in its first allocation group. */
  const inodePlace = async (...path: string[]): Promise<number> => {
    const { tree } = await read(new ChangedImage(image));
    return Number((await find(tree, ...path)).inode) * 512;
  };
  const inode = async (path: string, change: (bytes: Buffer) => void, at: number | null = checksum.inode) =>
    changed(await inodePlace(path), 512, at, change);
  /** The first page whose block has a magic number. */
  const blockOf = (magic: number, at: number): number => {
    const found = image.places.find((place) => {
      const bytes = image.page(place / 4096);
      return bytes && (at === 8 ? bytes.readUInt16BE(8) : bytes.readUInt32BE(0)) === magic;
    });
    if (found === undefined) throw new Error(`no block has the magic number ${magic.toString(16)}`);
    return found;
  };

  it('is known by its superblock alone', () => {
    expect(isXfs(new ChangedImage(image).bytes(0, 65536))).toBe(true);
    const impossible = superblock((bytes) => bytes.writeUInt32BE(4095, 4));
    expect(isXfs(impossible.bytes(0, 65536))).toBe(false);
    expect(isXfs(Buffer.alloc(65536))).toBe(false);
    expect(isXfs(Buffer.from('XFSB'))).toBe(false);
  });

  it('is refused where its superblock is not what its checksum says, and its disk stays open', async () => {
    const disk = superblock((bytes) => bytes.writeUInt8(0x41, 108), null);
    await expect(read(disk)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/checksum/),
    });
    expect(disk.closed).toBe(false);
  });

  it.each([
    ['zoned', 1 << 9],
    ['incompat bit 20', 1 << 20],
  ])('is refused with what it has that is not read: %s', async (name, bit) => {
    const disk = superblock((bytes) => bytes.writeUInt32BE((bytes.readUInt32BE(216) | bit) >>> 0, 216));
    await expect(read(disk)).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
      message: expect.stringContaining(name),
    });
  });

  it('is read although xfs_repair should mend it, and says so', async () => {
    const { tree, problems } = await read(
      superblock((bytes) => bytes.writeUInt32BE((bytes.readUInt32BE(216) | (1 << 4)) >>> 0, 216)),
    );
    await isSound(tree);
    expect(problems).toEqual([expect.stringMatching(/xfs_repair/)]);
  });

  it('on a disk cut short shows what is left, and says so', async () => {
    const disk = new ChangedImage(image, 20 * 1024 * 1024);
    const { problems } = await read(disk);
    expect(problems[0]).toMatch(/25165824 bytes, its disk only 20971520/);
  });

  it.each([
    ['has another checksum', /inode \d+ is damaged: its checksum/, null, 20],
    ['is another one', /says that it is inode/, checksum.inode, 159],
    ['is of another file system', /another file system/, checksum.inode, 161],
  ] as const)('lists a file whose inode %s, and reads the others', async (_, reason, at, place) => {
    const disk = await inode('file', (bytes) => bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place), at);
    const { tree, problems } = await read(disk);
    expect((await listAll(tree, tree.root)).map(({ name }) => name)).toContain('file');
    await expect(find(tree, 'file')).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(reason),
    });
    expect(problems).toEqual([expect.stringMatching(reason)]);
    await isSound(tree);
  });

  it('tells of a file on the realtime device that it is not read', async () => {
    const { tree } = await read(await inode('file', (bytes) => bytes.writeUInt16BE(1, 90)));
    const file = await find(tree, 'file');
    expect(file.size).toBe(9000);
    await expect(contentOf(tree, file)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/realtime/),
    });
  });

  it('reads no extent that leaves the file system', async () => {
    // The last word has the count of blocks, the one before it their number.
    for (const [at, word] of [
      [12, 0x1f_ffff],
      [8, 0xffff],
    ] as const) {
      const disk = await inode('file', (bytes) => bytes.writeUInt32BE(word, 176 + at));
      const { tree } = await read(disk);
      await expect(contentOf(tree, await find(tree, 'file'))).rejects.toMatchObject({ code: 'EIO' });
      await isSound(tree);
    }
  });

  it.each([
    ['written for another place', 24, /another place/],
    ['of another inode', 56, /belongs to inode/],
    ['of another level', 4, /level/],
  ])('reads no extent tree with a block that is %s', async (_, at, reason) => {
    const disk = changed(blockOf(0x424d4133, 0), blockSize, checksum.map, (bytes) =>
      bytes.writeUInt16BE(7, at),
    );
    const { tree } = await read(disk);
    await expect(contentOf(tree, await find(tree, 'pieces'))).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(reason),
    });
    await isSound(tree);
  });

  it('reads no extent tree that goes in circles', async () => {
    const block = blockOf(0x424d4133, 0);
    const disk = await inode('pieces', (bytes) => bytes.writeUInt16BE(5, 176));
    const bytes = disk.bytes(block, blockSize);
    bytes.writeUInt16BE(4, 4);
    for (let at = 72; at < blockSize; at += 8) bytes.writeBigUInt64BE(BigInt(block / blockSize), at);
    bytes.writeUInt32LE(0, checksum.map);
    bytes.writeUInt32LE(~crc32c(0xffff_ffff, bytes) >>> 0, checksum.map);
    disk.change(block, bytes);
    const { tree } = await read(disk);
    await expect(contentOf(tree, await find(tree, 'pieces'))).rejects.toMatchObject({ code: 'EIO' });
  });

  it('lists no folder with a block that is damaged, and says which', async () => {
    const disk = changed(blockOf(0x58444433, 0), blockSize, null, (bytes) => bytes.writeUInt8(1, 2000));
    const { tree, problems } = await read(disk);
    const { inode: number } = await find(tree, 'folder');
    await expect(listAll(tree, number)).rejects.toMatchObject({ code: 'EIO' });
    expect(problems).toEqual([expect.stringMatching(new RegExp(`inode ${number} at .*checksum`))]);
    await isSound(tree);
  });

  it('finds files of a folder with a damaged index by listing it', async () => {
    const disk = changed(blockOf(0x3df1, 8), blockSize, null, (bytes) => bytes.fill(0, 64));
    const { tree } = await read(disk);
    const { inode: number } = await find(tree, 'folder');
    expect(await listAll(tree, number)).toHaveLength(many);
    await expect(find(tree, 'folder', 'file number 7')).rejects.toMatchObject({ code: 'EIO' });
  });

  it('shows a file whose attributes go in circles, without them', async () => {
    const disk = changed(blockOf(0x3bee, 8), blockSize, checksum.tree, (bytes) => {
      // The leaf that follows it is itself.
      const block = bytes.readUInt32BE(4);
      bytes.writeUInt32BE(block === 0 ? 1 : block, 0);
    });
    const { tree } = await read(disk);
    const file = await find(tree, 'file');
    await expect(tree.xattrs(file.inode, unhurried)).rejects.toMatchObject({ code: 'EIO' });
    expect((await contentOf(tree, file)).length).toBe(9000);
  });

  describe('that was not unmounted', () => {
    const recordMagic = 0xfeedbabe;
    const records = (): number[] =>
      unclean.places.flatMap((page) =>
        Array.from({ length: 8 }, (_, each) => page + each * 512).filter(
          (at) => unclean.page(page / 4096)?.readUInt32BE(at - page) === recordMagic,
        ),
      );

    it('shows what is in its log alone', async () => {
      const { tree, problems } = await read(new ChangedImage(unclean));
      expect((await find(tree, 'last')).type).toBe('file');
      expect(problems).toEqual([]);
    });

    it('shows nothing of a last record that was torn', async () => {
      const disk = new ChangedImage(unclean);
      const torn = records().find((place) => {
        const length = disk.bytes(place, 512).readUInt32BE(12);
        return disk.bytes(place + 512, length).includes('last');
      });
      disk.change((torn ?? 0) + 1024, Buffer.alloc(512, 0x5a));
      const { tree, problems } = await read(disk);
      await expect(find(tree, 'last')).rejects.toThrow(/not there/);
      await isSound(tree);
      expect(problems).toEqual([]);
    });

    it('is shown as it is on the disk where its log is of another file system, and says so', async () => {
      const disk = new ChangedImage(unclean);
      for (const place of records()) {
        const header = disk.bytes(place, 512);
        header.fill(0x33, 304, 320);
        const record = Buffer.concat([header, disk.bytes(place + 512, header.readUInt32BE(12))]);
        record.writeUInt32LE(0, 32);
        const sum = crc32c(crc32c(0xffff_ffff, record, 0, 328), record, 512);
        header.writeUInt32LE(~sum >>> 0, 32);
        disk.change(place, header);
      }
      const { tree, problems } = await read(disk);
      await expect(find(tree, 'last')).rejects.toThrow(/not there/);
      expect(problems).toEqual([expect.stringMatching(/can't be replayed: .*another file system/)]);
    });

    it('says where its log is on another disk', async () => {
      const disk = new ChangedImage(image);
      const sector = disk.bytes(0, 512);
      sector.writeBigUInt64BE(0n, 48);
      sector.writeUInt32LE(0, checksum.superblock);
      sector.writeUInt32LE(~crc32c(0xffff_ffff, sector) >>> 0, checksum.superblock);
      disk.change(0, sector);
      const { tree, problems } = await read(disk);
      await isSound(tree);
      expect(problems).toEqual([expect.stringMatching(/log .* on another disk/)]);
    });
  });
});

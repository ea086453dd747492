import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Name } from '../../../../src/name.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { contentOf, find, listAll, unhurried } from '../host-folder/walk.js';
import { BytesDisk } from './bytes-disk.js';
import { makeSquashfs, type ReadImage, readSquashfs } from './images.js';

// Of struct squashfs_super_block.
const at = {
  inodes: 4,
  blockSize: 12,
  fragments: 16,
  compression: 20,
  blockLog: 22,
  ids: 26,
  major: 28,
  root: 32,
  bytesUsed: 40,
  idTable: 48,
  xattrTable: 56,
  inodeTable: 64,
  directoryTable: 72,
  fragmentTable: 80,
} as const;

/** An image whose tables are not packed, so that they can be changed. */
let original: Buffer;

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'stillfs-hostile-'));
  try {
    const tree = join(folder, 'tree');
    mkdirSync(join(tree, 'folder', 'below'), { recursive: true });
    writeFileSync(join(tree, 'folder', 'innocent'), 'innocent');
    writeFileSync(join(tree, 'large'), Buffer.alloc(300_000, 'large '));
    writeFileSync(join(tree, 'sparse'), 'x');
    truncateSync(join(tree, 'sparse'), 600_000);
    symlinkSync('to/somewhere', join(tree, 'symlink'));
    const image = join(folder, 'image');
    await makeSquashfs(
      tree,
      image,
      '-noI',
      '-noX',
      '-no-xattrs',
      '-b',
      '128K',
      '-all-root',
      '-all-time',
      '0',
    );
    original = readFileSync(image);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Opens the image after a change. */
async function changed(change: (bytes: Buffer) => void): Promise<ReadImage> {
  const bytes = Buffer.from(original);
  change(bytes);
  return readSquashfs(new BytesDisk(bytes));
}

const placeIn = (bytes: Buffer, field: number): number => Number(bytes.readBigUInt64LE(field));

describe('an image that is none, or of a kind that is not read, is refused when it is opened', () => {
  it.each<[string, string, RegExp, (bytes: Buffer) => void]>([
    ['another format', 'EIO', /no squashfs image/, (bytes) => bytes.write('tar!', 0)],
    ['big-endian', 'EOPNOTSUPP', /big-endian/, (bytes) => bytes.write('sqsh', 0)],
    ['version 3', 'EOPNOTSUPP', /version 3\.0/, (bytes) => bytes.writeUInt16LE(3, at.major)],
    ['lzma', 'EOPNOTSUPP', /lzma/, (bytes) => bytes.writeUInt16LE(2, at.compression)],
    [
      'an unknown compression',
      'EOPNOTSUPP',
      /compression 9/,
      (bytes) => bytes.writeUInt16LE(9, at.compression),
    ],
    [
      'blocks of 2 MiB',
      'EIO',
      /blocks of 2097152 bytes/,
      (bytes) => bytes.writeUInt32LE(1 << 21, at.blockSize),
    ],
    [
      'blocks of odd size',
      'EIO',
      /blocks of 131071 bytes/,
      (bytes) => bytes.writeUInt32LE(131_071, at.blockSize),
    ],
    ['sizes that disagree', 'EIO', /2\^16/, (bytes) => bytes.writeUInt16LE(16, at.blockLog)],
    ['no ids', 'EIO', /0 ids/, (bytes) => bytes.writeUInt16LE(0, at.ids)],
    ['no inodes', 'EIO', /0 inodes/, (bytes) => bytes.writeUInt32LE(0, at.inodes)],
    ['a root nowhere', 'EIO', /root/, (bytes) => bytes.writeBigUInt64LE(1n << 40n, at.root)],
    ['a root beyond its block', 'EIO', /root/, (bytes) => bytes.writeBigUInt64LE(0xffffn, at.root)],
    [
      'more bytes than there are',
      'EIO',
      /cut short/,
      (bytes) => bytes.writeBigUInt64LE(1n << 40n, at.bytesUsed),
    ],
    [
      'a size beyond all',
      'EIO',
      /its end lies at/,
      (bytes) => bytes.writeBigUInt64LE(1n << 63n, at.bytesUsed),
    ],
    ['ids outside', 'EIO', /table of ids/, (bytes) => bytes.writeBigUInt64LE(1n << 33n, at.idTable)],
    ['ids in the superblock', 'EIO', /table of ids/, (bytes) => bytes.writeBigUInt64LE(8n, at.idTable)],
    [
      'tables in the wrong order',
      'EIO',
      /before that of directories/,
      (bytes) => bytes.writeBigUInt64LE(96n, at.directoryTable),
    ],
    [
      'fragments without a table',
      'EIO',
      /fragments and no table/,
      (bytes) => bytes.writeBigInt64LE(-1n, at.fragmentTable),
    ],
  ])('%s', async (_what, code, sentence, change) => {
    await expect(changed(change)).rejects.toMatchObject({ code, message: expect.stringMatching(sentence) });
  });

  it('an image of which the end is missing', async () => {
    const disk = new BytesDisk(original.subarray(0, placeIn(original, at.bytesUsed) - 1));
    await expect(readSquashfs(disk)).rejects.toThrow(/cut short: it has \d+ of its \d+ bytes/);
  });

  it.each([0, 1, 95])('an image of %i bytes', async (length) => {
    const disk = new BytesDisk(original.subarray(0, length));
    await expect(readSquashfs(disk)).rejects.toThrow(/too few/);
  });
});

describe('what is damaged in an image is an error at its place, and its neighbours are shown', () => {
  /** Opens the image with its directory table changed: entries are found by their names. */
  const withEntry = (name: string, change: (bytes: Buffer, nameAt: number) => void): Promise<ReadImage> =>
    changed((bytes) => change(bytes, bytes.indexOf(name, placeIn(bytes, at.directoryTable))));
  const names = async (tree: Tree, ...path: string[]): Promise<string[]> => {
    const { inode } = await find(tree, ...path);
    return (await listAll(tree, inode)).map(({ name }) => name);
  };

  it.each(['inn/cent', 'inno\0ent', '../../in'])('leaves out an entry with the name %j', async (name) => {
    const { tree, problems } = await withEntry('innocent', (bytes, nameAt) =>
      bytes.write(name, nameAt, 'latin1'),
    );
    expect(await names(tree, 'folder')).toEqual(['below']);
    expect(problems).toEqual([expect.stringMatching(/left out/)]);
  });

  it.each(['.', '..'])('leaves out an entry with the name %s', async (name) => {
    const { tree } = await withEntry('large', (bytes, nameAt) => {
      // The entry after it gets what the name is shorter by, so that the listing goes on as before.
      bytes.writeUInt16LE(name.length - 1, nameAt - 2);
      bytes.copyWithin(nameAt + name.length, nameAt + 5, nameAt + 40);
      bytes.write(name, nameAt);
    });
    const { inode } = await find(tree);
    const first = await tree.list(inode, 0n, unhurried).catch(() => []);
    expect(first.map((entry) => entry.name)).not.toContain(name);
  });

  it('does not go in circles where a folder is entered as its own child', async () => {
    const { tree, problems } = await withEntry('below', (bytes, nameAt) => {
      // The entry gets the place of the folder that it stands in, as the root's entry tells it.
      const own = bytes.indexOf('folder', placeIn(bytes, at.directoryTable));
      bytes.writeUInt16LE(bytes.readUInt16LE(own - 8), nameAt - 8);
    });
    const folder = await find(tree, 'folder');
    await expect(tree.lookup(folder.inode, 'below' as Name, unhurried)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/two places/),
    });
    expect((await listAll(tree, folder.inode)).map(({ name }) => name)).toEqual(['below', 'innocent']);
    expect(problems).toEqual([expect.stringMatching(/"below".*two places/)]);
    expect(`${await contentOf(tree, await find(tree, 'folder', 'innocent'))}`).toBe('innocent');
  });

  it('shows an entry whose inode lies outside of the table as unreadable', async () => {
    const { tree } = await withEntry('innocent', (bytes, nameAt) => bytes.writeUInt16LE(8190, nameAt - 8));
    expect(await names(tree, 'folder')).toEqual(['below', 'innocent']);
    await expect(find(tree, 'folder', 'innocent')).rejects.toMatchObject({ code: 'EIO' });
    expect((await find(tree, 'folder', 'below')).type).toBe('directory');
  });

  it('reads all blocks of a file but the damaged one', async () => {
    const { tree, problems } = await changed((bytes) => {
      // The file's first block is the first thing in the image.
      bytes.fill(0xff, 100, 120);
    });
    const file = await find(tree, 'large');
    const { handle } = await tree.open(file.inode, 'read', unhurried);
    const target = Buffer.alloc(1000);
    await expect(tree.read(handle, 5, target, unhurried)).rejects.toMatchObject({ code: 'EIO' });
    expect(await tree.read(handle, 131_072, target, unhurried)).toBe(1000);
    expect(target.equals(Buffer.alloc(300_000, 'large ').subarray(131_072, 132_072))).toBe(true);
    expect(problems).toEqual([expect.stringMatching(/data at 96 are damaged/)]);
  });

  it('refuses a block of more bytes than a block has', async () => {
    const sizes = 4 * 2;
    const { tree } = await changed((bytes) => {
      const stored = bytes.readUInt32LE(blockListOf(bytes, 300_000));
      expect(stored).toBeGreaterThan(0);
      bytes.writeUInt32LE(0x00ff_ffff, blockListOf(bytes, 300_000) + sizes - 4);
    });
    const { handle } = await tree.open((await find(tree, 'large')).inode, 'read', unhurried);
    await expect(tree.read(handle, 131_072, Buffer.alloc(10), unhurried)).rejects.toThrow(
      /no size that it can have/,
    );
    expect(await tree.read(handle, 0, Buffer.alloc(10), unhurried)).toBe(10);
  });

  it('gives up at the end of the table where a file is said to have blocks without number', async () => {
    const { tree } = await changed((bytes) =>
      bytes.writeUInt32LE(0xffff_0000, blockListOf(bytes, 300_000) - 4),
    );
    const file = await find(tree, 'large');
    expect(file.size).toBe(0xffff_0000);
    const { handle } = await tree.open(file.inode, 'read', unhurried);
    await expect(tree.read(handle, 0xfff0_0000, Buffer.alloc(10), unhurried)).rejects.toMatchObject({
      code: 'EIO',
    });
  });

  it('refuses a folder whose header claims more entries than one can have', async () => {
    const { tree } = await withEntry('below', (bytes, nameAt) =>
      bytes.writeUInt32LE(0x7fff_ffff, nameAt - 20),
    );
    await expect(names(tree, 'folder')).rejects.toThrow(/a header of 2147483648 entries/);
    expect(await names(tree)).toEqual(['folder', 'large', 'sparse', 'symlink']);
  });

  it('refuses a symlink that no path can be', async () => {
    const { tree } = await changed((bytes) => {
      const target = bytes.indexOf('to/somewhere', placeIn(bytes, at.inodeTable));
      bytes.writeUInt32LE(0x1000_0000, target - 4);
    });
    await expect(find(tree, 'symlink')).rejects.toThrow(/a symlink of 268435456 bytes/);
  });
});

/** Where the list of the blocks of a file of so many bytes begins: right behind its size, in a basic inode. */
function blockListOf(bytes: Buffer, size: number): number {
  const needle = Buffer.alloc(4);
  needle.writeUInt32LE(size);
  return bytes.indexOf(needle, placeIn(bytes, at.inodeTable)) + 4;
}

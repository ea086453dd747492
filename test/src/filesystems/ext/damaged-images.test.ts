import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nameFromText } from '../../../../src/name.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { setXattr } from '../../../corpus/odd-calls.js';
import { contentOf, find, listAll, unhurried } from '../../archives/host-folder/walk.js';
import { ExtImage, type OpenedExt, openBytes } from './images.js';

const superblock = 1024;
const names = Array.from({ length: 300 }, (_, each) => `name-${each}`);

let plain: ExtImage;
let sealed: ExtImage;

function fill(folder: string): void {
  const path = (...parts: string[]): string => join(folder, ...parts);
  mkdirSync(path('large'));
  for (const name of names) writeFileSync(path('large', name), name);
  mkdirSync(path('folder', 'below'), { recursive: true });
  writeFileSync(path('folder', 'innocent'), 'innocent');
  writeFileSync(path('file'), Buffer.alloc(40_000, 'file '));
  writeFileSync(path('sparse'), 'x');
  truncateSync(path('sparse'), 600_000);
  symlinkSync('to/somewhere', path('link'));
  writeFileSync(path('attributes'), 'attributes');
  setXattr(Buffer.from(path('attributes')), 'user.large', Buffer.alloc(700, 'v'));
}

beforeAll(() => {
  const options = ['-t', 'ext4', '-b', '1024', '-I', '256'];
  plain = new ExtImage(8, [...options, '-O', '^metadata_csum,^has_journal'], fill);
  sealed = new ExtImage(8, [...options, '-O', '^has_journal'], fill);
});
afterAll(() => {
  plain.remove();
  sealed.remove();
});

async function changed(image: ExtImage, change: (bytes: Buffer) => void): Promise<OpenedExt> {
  const { bytes } = image;
  change(bytes);
  return openBytes(bytes);
}

async function listed(tree: Tree, ...path: string[]): Promise<string[]> {
  return (await listAll(tree, (await find(tree, ...path)).inode)).map(({ name }) => name as string);
}

/** What can be listed before the listing fails. */
async function listedUntil(tree: Tree, ...path: string[]): Promise<{ names: string[]; code: unknown }> {
  const { inode } = await find(tree, ...path);
  const found: string[] = [];
  for (let after = 0n; ; ) {
    try {
      const entries = await tree.list(inode, after, unhurried);
      if (entries.length === 0) return { names: found, code: undefined };
      found.push(...entries.map(({ name }) => name as string));
      after = entries.at(-1)?.cookie ?? after;
    } catch (error) {
      return { names: found, code: error instanceof Error && 'code' in error && error.code };
    }
  }
}

describe('a file system that is none, or of a kind that is not read, is refused when it is opened', () => {
  it.each<[string, string, RegExp, (bytes: Buffer) => void]>([
    [
      'another magic number',
      'EIO',
      /no ext2, ext3 or ext4/,
      (bytes) => bytes.writeUInt16LE(1, superblock + 0x38),
    ],
    ['compression', 'EOPNOTSUPP', /not read: compression$/, (bytes) => setIncompatible(bytes, 0x1)],
    ['an unknown feature', 'EOPNOTSUPP', /not read: I30$/, (bytes) => setIncompatible(bytes, 1 << 30)],
    ['a journal', 'EOPNOTSUPP', /journal .* on another disk/, (bytes) => setIncompatible(bytes, 0x8)],
    [
      'blocks of 2^41 bytes',
      'EIO',
      /blocks of 2\^41 bytes/,
      (bytes) => bytes.writeUInt32LE(31, superblock + 0x18),
    ],
    [
      'no blocks in a group',
      'EIO',
      /0 blocks in each group/,
      (bytes) => bytes.writeUInt32LE(0, superblock + 0x20),
    ],
    [
      'inodes of 96 bytes',
      'EIO',
      /inodes of 96 bytes/,
      (bytes) => bytes.writeUInt16LE(96, superblock + 0x58),
    ],
    [
      'another number of inodes',
      'EIO',
      /5 inodes in 1 groups/,
      (bytes) => bytes.writeUInt32LE(5, superblock),
    ],
    [
      'a root that is a file',
      'EIO',
      /the root of .* is a file/,
      (bytes) => bytes.writeUInt16LE(0o100755, plain.inode('/')),
    ],
  ])('%s', async (_, code, message, change) => {
    await expect(changed(plain, change)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it('fewer bytes than a superblock has', async () => {
    await expect(openBytes(Buffer.alloc(1500))).rejects.toMatchObject({ code: 'EIO' });
  });
});

function setIncompatible(bytes: Buffer, bit: number): void {
  bytes.writeUInt32LE((bytes.readUInt32LE(superblock + 0x60) | bit) >>> 0, superblock + 0x60);
}

describe('what is damaged is an error there, told of, and all else is shown', () => {
  it('an inode with a wrong checksum', async () => {
    const { tree, problems } = await changed(sealed, (bytes) => {
      bytes.writeUInt16LE(7, sealed.inode('/file') + 0x18);
    });
    await expect(find(tree, 'file')).rejects.toMatchObject({ code: 'EIO' });
    expect(problems).toEqual([
      `inode ${sealed.inodeNumber('/file')} of the ext file system is damaged: its checksum is wrong.`,
    ]);
    expect(await listed(tree, 'folder')).toEqual(['below', 'innocent']);
    expect(await listed(tree)).toContain('file');
  });

  it('a group descriptor with a wrong checksum', async () => {
    const image = new ExtImage(
      24,
      ['-t', 'ext4', '-b', '1024', '-N', '3000', '-O', '^has_journal,^flex_bg'],
      fill,
    );
    try {
      const { bytes } = image;
      const perGroup = bytes.readUInt32LE(superblock + 0x28);
      expect(image.inodeNumber('/large/name-0')).toBeLessThanOrEqual(perGroup);
      bytes.writeUInt8(bytes.readUInt8(2 * 1024 + 64) ^ 1, 2 * 1024 + 64);
      const { tree, problems } = await openBytes(bytes);
      await expect(tree.attributes(BigInt(perGroup + 1), unhurried)).rejects.toMatchObject({ code: 'EIO' });
      expect(problems).toEqual(['group 1 of the ext file system is damaged: its checksum is wrong.']);
      expect(await listed(tree, 'large')).toHaveLength(names.length);
    } finally {
      image.remove();
    }
  });

  it('a folder with a damaged block: the other blocks are listed, then the listing fails; nothing is said not to be there', async () => {
    const second = sealed.block('/large', 1);
    const { tree, problems } = await changed(sealed, (bytes) => bytes.writeUInt8(0xff, second + 9));
    const { names: shown, code } = await listedUntil(tree, 'large');
    expect(code).toBe('EIO');
    expect(shown.length).toBeGreaterThan(200);
    expect(shown.length).toBeLessThan(names.length);
    const lost = names.find((name) => !shown.includes(name)) ?? '';
    await expect(find(tree, 'large', lost)).rejects.toMatchObject({ code: 'EIO' });
    expect(await find(tree, 'large', shown[0] ?? '')).toMatchObject({ size: (shown[0] ?? '').length });
    expect(problems).toEqual([
      expect.stringMatching(/^inode \d+ .* the checksum of block 1 of the folder is wrong\.$/),
    ]);
  });

  it('a damaged index of a folder: its names are found one by one', async () => {
    const root = plain.block('/large', 0);
    const { tree, problems } = await changed(plain, (bytes) => bytes.writeUInt16LE(0xffff, root + 32 + 2));
    for (const name of names) expect(await find(tree, 'large', name)).toMatchObject({ size: name.length });
    await expect(find(tree, 'large', 'not there')).rejects.toThrow(/is not there/);
    expect(problems).toEqual([expect.stringMatching(/its index is said to have 65535 of \d+ entries\.$/)]);
  });

  it('an entry that has no room in its block', async () => {
    const block = plain.block('/folder', 0);
    const { tree } = await changed(plain, (bytes) => bytes.writeUInt16LE(4000, block + 24 + 4));
    expect(await listedUntil(tree, 'folder')).toEqual({ names: [], code: 'EIO' });
    expect(await listed(tree)).toContain('large');
  });

  it('an entry that leads to a free inode', async () => {
    const { tree, problems } = await changed(plain, (bytes) =>
      bytes.writeUInt16LE(0, plain.inode('/file') + 0x1a),
    );
    await expect(find(tree, 'file')).rejects.toMatchObject({ code: 'EIO' });
    expect(problems).toEqual([
      expect.stringMatching(/^the entry "file" of a folder leads to no file: .* is free\.$/),
    ]);
  });

  it('blocks beyond the end of the disk', async () => {
    const { tree, problems } = await changed(plain, (bytes) =>
      bytes.writeUInt32LE(1 << 20, plain.inode('/file') + 0x28 + 20),
    );
    const file = await find(tree, 'file');
    await expect(tree.open(file.inode, 'read', unhurried)).rejects.toMatchObject({ code: 'EIO' });
    expect(problems).toEqual([
      expect.stringMatching(/the root of its extent tree tells of \d+ blocks from 1048576 on\.$/),
    ]);
  });

  it('a block of extended attributes: the file can be read', async () => {
    const block = Number(/File ACL: (\d+)/.exec(sealed.debugfs('stat /attributes'))?.[1]) * 1024;
    const { tree } = await changed(sealed, (bytes) => bytes.writeUInt8(1, block + 1020));
    const file = await find(tree, 'attributes');
    await expect(tree.xattrs(file.inode, unhurried)).rejects.toMatchObject({ code: 'EIO' });
    expect((await contentOf(tree, file)).toString()).toBe('attributes');
  });

  it('an attribute that has an inode of its own', async () => {
    const value = join(mkdtempSync(join(tmpdir(), 'stillfs-value-')), 'value');
    writeFileSync(value, Buffer.alloc(1024, 'value '));
    const options = ['-t', 'ext4', '-b', '1024', '-O', 'ea_inode,^has_journal'];
    const image = new ExtImage(8, options, (folder) => writeFileSync(join(folder, 'file'), 'file'), [
      `ea_set -f ${value} /file user.large`,
    ]);
    try {
      const { bytes } = image;
      const name = nameFromText('user.large');
      const whole = await openBytes(Buffer.from(bytes));
      const { inode } = await find(whole.tree, 'file');
      expect(await whole.tree.xattr(inode, name, unhurried)).toHaveLength(1024);
      bytes[bytes.indexOf(Buffer.alloc(600, 'value '))] = 0;
      const { tree } = await openBytes(bytes);
      await expect(tree.xattr(inode, name, unhurried)).rejects.toThrow(
        /checksum of an attribute in inode \d+ is wrong/,
      );
    } finally {
      image.remove();
      rmSync(dirname(value), { recursive: true });
    }
  });

  it('a symlink that is longer than any', async () => {
    const { tree } = await changed(plain, (bytes) => bytes.writeUInt32LE(100_000, plain.inode('/link') + 4));
    const link = await find(tree, 'link');
    await expect(tree.readlink(link.inode, unhurried)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('a disk that is cut short', async () => {
    const large = 4 << 20;
    const image = new ExtImage(8, ['-t', 'ext4', '-b', '1024'], (folder) => {
      writeFileSync(join(folder, 'large'), Buffer.alloc(large, 'l'));
      writeFileSync(join(folder, 'small'), 'small');
    });
    try {
      const cut = image.block('/large', large / 1024 - 100);
      const { tree, problems } = await openBytes(image.bytes.subarray(0, cut));
      expect(problems).toEqual([expect.stringMatching(/is cut short: it is said to have 8388608 bytes/)]);
      const { inode } = await find(tree, 'large');
      const { handle } = await tree.open(inode, 'read', unhurried);
      const target = Buffer.alloc(large - 100 * 1024);
      expect(await tree.read(handle, 0, target, unhurried)).toBe(target.length);
      expect(target.equals(Buffer.alloc(target.length, 'l'))).toBe(true);
      const beyond = tree.read(handle, target.length, Buffer.alloc(10), unhurried);
      await expect(beyond).rejects.toMatchObject({ code: 'EIO' });
    } finally {
      image.remove();
    }
  });

  it('the superblock alone', async () => {
    const { tree, problems } = await changed(sealed, (bytes) => bytes.writeUInt32LE(7, superblock + 0x2c));
    expect(problems).toEqual([expect.stringMatching(/checksum of the superblock .* is wrong/)]);
    expect(await listed(tree, 'folder')).toEqual(['below', 'innocent']);
  });

  it('the memory of a system that it had errors, and of files that were in use', async () => {
    const { problems } = await changed(plain, (bytes) => {
      bytes.writeUInt16LE(0x2, superblock + 0x3a);
      bytes.writeUInt32LE(13, superblock + 0xe8);
    });
    expect(problems).toEqual([
      expect.stringMatching(/marked as damaged/),
      expect.stringMatching(/has orphans/),
    ]);
  });
});

describe('a file that is encrypted', () => {
  it('is listed, with its attributes, and opening it says why it can not be read', async () => {
    const { tree, problems } = await changed(plain, (bytes) => {
      const at = plain.inode('/file') + 0x20;
      bytes.writeUInt32LE(bytes.readUInt32LE(at) | 0x800, at);
      setIncompatible(bytes, 0x10000);
    });
    const file = await find(tree, 'file');
    expect(file.size).toBe(40_000);
    await expect(tree.open(file.inode, 'read', unhurried)).rejects.toMatchObject({
      code: 'EACCES',
      message: expect.stringMatching(/encrypted/),
    });
    expect(problems).toEqual([]);
  });
});

describe('numbers of inodes from elsewhere', () => {
  it.each([0n, 1n, 7n, 8n, 10n, 100_000n, 2n ** 40n, 2n ** 63n])('%s is no file', async (inode) => {
    const { tree } = await openBytes(plain.bytes);
    await expect(tree.attributes(inode, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('lead to the folder that a folder is in', async () => {
    const { tree } = await openBytes(plain.bytes);
    const below = BigInt(plain.inodeNumber('/folder/below'));
    const { attributes } = await tree.lookup(below, nameFromText('..'), unhurried);
    expect(attributes?.inode).toBe(BigInt(plain.inodeNumber('/folder')));
  });
});

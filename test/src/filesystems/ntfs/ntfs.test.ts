import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isNtfs, openNtfs } from '../../../../src/filesystems/ntfs/ntfs.js';
import type { Name } from '../../../../src/name.js';
import { makeNode } from '../../../corpus/odd-calls.js';
import { contentOf, find, listAll, unhurried } from '../../archives/host-folder/walk.js';
import { BytesDisk } from '../../archives/squashfs/bytes-disk.js';
import {
  extendedAttribute,
  makeVolume,
  mountedByNtfs3g,
  openBytes,
  setNtfs,
  smallVolume,
} from './volumes.js';

/** The value of `system.ntfs_reparse_data`: a tag, and what belongs to it. */
const reparse = (tag: number, data: Buffer = Buffer.alloc(0)): string => {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(tag, 0);
  head.writeUInt16LE(data.length, 4);
  return Buffer.concat([head, data]).toString('hex');
};

/** What belongs to a junction, or to a symlink, which has flags (1: relative). */
const windowsLink = (target: string, flags?: number): Buffer => {
  const path = Buffer.from(target, 'utf16le');
  const head = Buffer.alloc(flags === undefined ? 8 : 12);
  head.writeUInt16LE(path.length, 2);
  head.writeUInt16LE(path.length, 4);
  if (flags !== undefined) head.writeUInt32LE(flags, 8);
  return Buffer.concat([head, path]);
};
const mountPoint = 0xa000_0003;
const symlink = 0xa000_000c;

describe('an NTFS volume', () => {
  let folder: string;
  let bytes: Buffer;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'stillfs-ntfs-'));
    bytes = await smallVolume(
      folder,
      async (root) => {
        const at = (...names: string[]): string => join(root, ...names);
        mkdirSync(at('Users', 'Public', 'Documents'), { recursive: true });
        writeFileSync(at('Users', 'Public', 'Documents', 'Ärger.txt'), 'text');
        writeFileSync(at('Users', 'case'), 'small');
        writeFileSync(at('Users', 'CASE'), 'large');
        execFileSync('setfattr', ['-n', 'user.Zone.Identifier', '-v', '[ZoneTransfer]', at('Users', 'case')]);
        execFileSync('setfattr', ['-n', 'user.on folder', '-v', 'yes', at('Users')]);
        mkdirSync(at('links', 'deep'), { recursive: true });
        const link = async (name: string, tag: number, data: Buffer): Promise<void> => {
          if (tag === mountPoint) mkdirSync(at('links', 'deep', name));
          else writeFileSync(at('links', 'deep', name), '');
          await setNtfs(at('links', 'deep', name), 'ntfs_reparse_data', reparse(tag, data));
        };
        await link('junction', mountPoint, windowsLink('\\??\\C:\\users\\PUBLIC'));
        await link('elsewhere', mountPoint, windowsLink('\\??\\D:\\Data\\x'));
        await link('volume', mountPoint, windowsLink('\\??\\Volume{01234567-89ab-cdef-0123-456789abcdef}\\'));
        await link('absolute', symlink, windowsLink('\\??\\C:\\Users\\Public\\documents\\ärger.TXT', 0));
        await link('rooted', symlink, windowsLink('\\users\\case', 1));
        await link('relative', symlink, windowsLink('..\\..\\USERS\\public', 1));
        await link('dangling', symlink, windowsLink('..\\nothing\\Here', 1));
        await link('server', symlink, windowsLink('\\??\\UNC\\server\\share\\file', 0));
        await link('wsl', 0xa000_001d, Buffer.from('\x02\0\0\0/usr/bin/ünïx', 'utf8'));
        mkdirSync(at('special'));
        const tags = { dedup: 0x8000_0013, cloud: 0x9000_601a, unknown: 0x8000_0fff };
        for (const [name, tag] of Object.entries(tags)) {
          writeFileSync(at('special', name), name);
          await setNtfs(at('special', name), 'ntfs_reparse_data', reparse(tag, Buffer.alloc(8)));
        }
        writeFileSync(at('special', 'lzx'), 'lzx');
        const lzx = Buffer.from(Uint32Array.of(1, 2, 1, 1).buffer);
        await setNtfs(at('special', 'lzx'), 'ntfs_reparse_data', reparse(0x8000_0017, lzx));
        writeFileSync(at('special', 'away'), 'away');
        await setNtfs(at('special', 'away'), 'ntfs_reparse_data', reparse(0x9000_601a, Buffer.alloc(8)));
        await setNtfs(at('special', 'away'), 'ntfs_attrib_be', '00001020');
        const word = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer);
        const ofLinux = (name: string, attributes: Readonly<Record<string, Buffer>>): Promise<void> => {
          const entries = Object.entries(attributes).map(([key, value]) => extendedAttribute(key, value));
          writeFileSync(at('special', name), name);
          return setNtfs(at('special', name), 'ntfs_ea', entries.join(''));
        };
        const owner = { $LXUID: word(1000), $LXGID: word(100) };
        await ofLinux('owned', {
          ...owner,
          $LXMOD: word(0o104750),
          'user.linux': Buffer.from('value'),
          OTHER: word(1),
        });
        writeFileSync(at('hiberfil.sys'), `hibr${'\0'.repeat(4092)}`);
      },
      '-L',
      'Étiquette',
    );
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('is known by its boot sector, and by nothing less', () => {
    const first = bytes.subarray(0, 65536);
    expect(isNtfs(first)).toBe(true);
    expect(isNtfs(first.subarray(0, 500))).toBe(false);
    for (const [at, value] of [
      [3, 0x45],
      [11, 0xff],
      [13, 3],
      [13, 0xf0],
      [16, 2],
      [64, 0x80],
    ] as const) {
      const other = Buffer.from(first);
      other[at] = value;
      expect(isNtfs(other), `byte ${at} = ${value}`).toBe(false);
    }
  });

  it('tells its label and its serial number as blkid does', async () => {
    const image = join(folder, 'told.img');
    writeFileSync(image, bytes);
    const told = (tag: string): string =>
      execFileSync('blkid', ['-p', '-s', tag, '-o', 'value', image], { encoding: 'utf8' }).trim();
    const { facts } = await openNtfs(new BytesDisk(bytes), { signal: unhurried, problem: () => undefined });
    expect(facts).toEqual({ kind: 'ntfs', uuid: told('UUID'), label: told('LABEL') });
    rmSync(image);
  });

  it('hides its own files, by listing and by name', async () => {
    const { tree } = await openBytes(bytes);
    const names = (await listAll(tree, tree.root)).map(({ name }) => name as string);
    expect(names.sort()).toEqual(['Users', 'hiberfil.sys', 'links', 'special']);
    for (const name of ['$MFT', '$Extend', '$Secure'])
      expect((await tree.lookup(tree.root, name as Name, unhurried)).attributes).toBeUndefined();
    await expect(tree.attributes(0n, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
    await expect(tree.attributes(1_000_000n, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('finds names in exactly their case', async () => {
    const { tree } = await openBytes(bytes);
    expect((await contentOf(tree, await find(tree, 'Users', 'case'))).toString()).toBe('small');
    expect((await contentOf(tree, await find(tree, 'Users', 'CASE'))).toString()).toBe('large');
    const { inode } = await find(tree, 'Users');
    expect((await tree.lookup(inode, 'Case' as Name, unhurried)).attributes).toBeUndefined();
  });

  it('shows streams as attributes', async () => {
    const { tree } = await openBytes(bytes);
    const file = await find(tree, 'Users', 'case');
    expect(await tree.xattrs(file.inode, unhurried)).toEqual(['user.Zone.Identifier']);
    const value = await tree.xattr(file.inode, 'user.Zone.Identifier' as Name, unhurried);
    expect(Buffer.from(value).toString()).toBe('[ZoneTransfer]');
    expect(await tree.xattrs((await find(tree, 'Users')).inode, unhurried)).toEqual(['user.on folder']);
  });

  it.each([
    ['junction', '../../Users/Public'],
    ['elsewhere', 'D:/Data/x'],
    ['volume', 'Volume{01234567-89ab-cdef-0123-456789abcdef}/'],
    ['absolute', '../../Users/Public/Documents/Ärger.txt'],
    ['rooted', '../../Users/case'],
    ['relative', '../../Users/Public'],
    ['dangling', '../nothing/Here'],
    ['server', 'UNC/server/share/file'],
    ['wsl', '/usr/bin/ünïx'],
  ])('shows the link %s as a path of Linux', async (name, target) => {
    const { tree } = await openBytes(bytes);
    const link = await find(tree, 'links', 'deep', name);
    expect(link).toMatchObject({ type: 'symlink', size: Buffer.byteLength(target) });
    expect(Buffer.from(await tree.readlink(link.inode, unhurried)).toString()).toBe(target);
  });

  it.each([
    ['lzx', /compressed by Windows as LZX/],
    ['dedup', /deduplicated/],
    ['away', /kept in the cloud/],
  ])('lists a file whose data are elsewhere, and says why it can’t be read: %s', async (name, reason) => {
    const { tree } = await openBytes(bytes);
    const file = await find(tree, 'special', name);
    expect(file).toMatchObject({ type: 'file', size: name.length });
    await expect(tree.open(file.inode, 'read', unhurried)).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
      message: expect.stringMatching(reason),
    });
  });

  it.each([
    'cloud',
    'unknown',
  ])('reads a file whose data are there, whatever else it is: %s', async (name) => {
    const { tree } = await openBytes(bytes);
    expect((await contentOf(tree, await find(tree, 'special', name))).toString()).toBe(name);
  });

  it('shows what the Windows subsystem for Linux and ntfs3 keep of a file', async () => {
    const { tree } = await openBytes(bytes);
    const owned = await find(tree, 'special', 'owned');
    expect(owned).toMatchObject({ type: 'file', uid: 1000, gid: 100, permissions: 0o4750 });
    expect(await tree.xattrs(owned.inode, unhurried)).toEqual(['user.linux']);
    const value = await tree.xattr(owned.inode, 'user.linux' as Name, unhurried);
    expect(Buffer.from(value).toString()).toBe('value');
  });

  it('shows the devices, pipes and sockets of the Windows subsystem for Linux', async () => {
    const image = join(folder, 'wsl.img');
    await makeVolume(image, 4 << 20);
    await mountedByNtfs3g(image, 'special_files=wsl', (root) => {
      const at = (name: string): Buffer => Buffer.from(join(root, name));
      makeNode(at('block'), 'block', 8, 17);
      makeNode(at('character'), 'character', 1, 3);
      makeNode(at('fifo'), 'fifo');
      makeNode(at('socket'), 'socket');
    });
    const { tree } = await openBytes(readFileSync(image));
    rmSync(image);
    const device = { major: 8, minor: 17 };
    expect(await find(tree, 'block')).toMatchObject({ type: 'block', permissions: 0o644, device });
    expect(await find(tree, 'character')).toMatchObject({
      type: 'character',
      device: { major: 1, minor: 3 },
    });
    expect(await find(tree, 'fifo')).toMatchObject({ type: 'fifo', size: 0 });
    expect(await find(tree, 'socket')).toMatchObject({ type: 'socket', size: 0 });
  });

  it('says that Windows is hibernated', async () => {
    const { problems } = await openBytes(bytes);
    expect(problems).toEqual([expect.stringMatching(/^Windows is hibernated/)]);
  });

  it('is let go of with its disk; one that can’t be opened is left alone', async () => {
    const disk = new BytesDisk(bytes);
    await (await openNtfs(disk, { signal: unhurried, problem: () => undefined })).close();
    expect(disk.closed).toBe(true);
    const none = new BytesDisk(Buffer.alloc(65536));
    const opening = openNtfs(none, { signal: unhurried, problem: () => undefined });
    await expect(opening).rejects.toMatchObject({ code: 'EIO' });
    expect(none.closed).toBe(false);
  });
});

import { mkdir, mkdtemp, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silent } from '../../../../src/log.js';
import { type Name, nameFromText, nameToText } from '../../../../src/name.js';
import {
  type DirectoryStoreOptions,
  openDirectoryStore,
} from '../../../../src/stores/directory/directory-store.js';
import type { Backup, BackupStore } from '../../../../src/stores/store.js';

const unending = new AbortController().signal;
const guest = nameFromText('100');
let path: string;
const stores: BackupStore[] = [];

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'stillfs-store-'));
});

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  await rm(path, { recursive: true, force: true });
});

async function openStore(options: Partial<DirectoryStoreOptions> = {}): Promise<BackupStore> {
  const store = await openDirectoryStore({ name: 'nas', path, ...options }, silent);
  stores.push(store);
  return store;
}

async function put(file: string, content: string | Uint8Array = ''): Promise<void> {
  const target = join(path, file);
  await mkdir(join(target, '..'), { recursive: true });
  await writeFile(target, content);
}

const texts = (names: ReadonlyArray<{ name: Name }>): string[] => names.map(({ name }) => nameToText(name));

async function foldersOf(store: BackupStore): Promise<string[]> {
  return (await store.backups(guest, unending)).map(({ folder }) => nameToText(folder));
}

/** The one backup that a test has made. */
async function openBackup(store: BackupStore): Promise<Backup> {
  const [reference] = await store.backups(guest, unending);
  if (!reference) throw new Error('no backup was made');
  return store.open(guest, reference, unending);
}

describe('a directory store', () => {
  it('lists guests and their backups, oldest first, and nothing else', async () => {
    await put('100/qemu-1731578239/guest.conf');
    await put('100/20241113T095719Z/guest.conf');
    await put('100/2024-11-16T09:57:19Z/guest.conf');
    await put('100/lxc-5/guest.conf');
    await put('100/qemu-1731837439.failed/backup.log');
    await put('100/.qemu-1731837440/guest.conf');
    await put('100/previous-info');
    await put('100/qemu-7'); // a file
    await put('101/previous-info');
    await put('.trash/qemu-1/guest.conf');
    await put('lost+found/x');
    await put('notes.txt');
    const store = await openStore();
    expect((await store.guests(unending)).map(nameToText)).toEqual(['100', '101']);
    expect(await foldersOf(store)).toEqual([
      'lxc-5',
      '20241113T095719Z',
      'qemu-1731578239',
      '2024-11-16T09:57:19Z',
    ]);
    expect(await store.backups(nameFromText('101'), unending)).toEqual([]);
    for (const absent of ['102', '.trash', 'notes.txt', '..', 'a/b']) {
      await expect(store.backups(nameFromText(absent), unending)).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  it('says what is wrong with the folder when it can not be opened', async () => {
    await expect(openStore({ path: join(path, 'none') })).rejects.toMatchObject({ code: 'ENOENT' });
    await put('file');
    await expect(openStore({ path: join(path, 'file') })).rejects.toMatchObject({
      code: 'ENOTDIR',
      message: expect.stringContaining('the store nas'),
    });
  });

  it('follows no symlink to a guest or a backup', async () => {
    await put('100/qemu-1/guest.conf');
    await symlink('100', join(path, '101'));
    await symlink('qemu-1', join(path, '100/qemu-2'));
    const store = await openStore();
    expect((await store.guests(unending)).map(nameToText)).toEqual(['100']);
    expect(await foldersOf(store)).toEqual(['qemu-1']);
    await expect(store.backups(nameFromText('101'), unending)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('keeps names that are not UTF-8', async () => {
    await execa('sh', ['-c', `mkdir -p "$(printf 'b\\377d')/qemu-1"`], { cwd: path });
    const store = await openStore();
    const [name] = await store.guests(unending);
    expect(name).toBe('b\xffd');
    expect(await store.backups(name ?? guest, unending)).toHaveLength(1);
  });

  it('ends a wait that is aborted', async () => {
    await put('100/qemu-1/guest.conf');
    const store = await openStore();
    await expect(store.backups(guest, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
    expect(await foldersOf(store)).toEqual(['qemu-1']);
  });
});

describe('a change in the store', () => {
  it('is told, and seen at once', async () => {
    await put('100/qemu-1/guest.conf');
    const store = await openStore({ freshMilliseconds: 1_000_000 });
    expect(await foldersOf(store)).toEqual(['qemu-1']);
    const told = new Promise<string | undefined>((resolve) =>
      store.watch((name) => resolve(name && nameToText(name))),
    );
    await put('.new/guest.conf');
    await rename(join(path, '.new'), join(path, '100/qemu-2'));
    await told;
    while ((await foldersOf(store)).length < 2) await new Promise(setImmediate);
    expect(await foldersOf(store)).toEqual(['qemu-1', 'qemu-2']);
  });

  it('is seen at the next access where nothing can be watched', async () => {
    await put('100/qemu-1/guest.conf');
    const store = await openStore({ freshMilliseconds: 0, watches: false });
    const before = await store.backups(guest, unending);
    expect(await store.backups(guest, unending)).toBe(before);
    await mkdir(join(path, '100/qemu-2'));
    expect(await foldersOf(store)).toEqual(['qemu-1', 'qemu-2']);
    await rm(join(path, '100/qemu-1'), { recursive: true });
    expect(await foldersOf(store)).toEqual(['qemu-2']);
    await rm(join(path, '100'), { recursive: true });
    await expect(store.backups(guest, unending)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await store.guests(unending)).toEqual([]);
  });

  it('to a folder that was old is seen by its time', async () => {
    await put('100/qemu-1/guest.conf');
    await utimes(join(path, '100'), 1000, 1000);
    const store = await openStore({ freshMilliseconds: 0, watches: false });
    expect(await foldersOf(store)).toEqual(['qemu-1']);
    await mkdir(join(path, '100/qemu-2'));
    expect(await foldersOf(store)).toEqual(['qemu-1', 'qemu-2']);
  });

  it('does not confuse a guest with another that took its name', async () => {
    await put('100/qemu-1/guest.conf');
    await put('200/qemu-2/guest.conf');
    const store = await openStore({ freshMilliseconds: 1_000_000 });
    expect(await foldersOf(store)).toEqual(['qemu-1']);
    await rm(join(path, '100'), { recursive: true });
    await rename(join(path, '200'), join(path, '100'));
    while ((await foldersOf(store).catch(() => ['']))[0] !== 'qemu-2') await new Promise(setImmediate);
    expect(await foldersOf(store)).toEqual(['qemu-2']);
    // The one that has the name now is the one that is watched.
    await mkdir(join(path, '100/qemu-3'));
    while ((await foldersOf(store)).length < 2) await new Promise(setImmediate);
    expect(await foldersOf(store)).toEqual(['qemu-2', 'qemu-3']);
  });
});

describe('a backup', () => {
  it('has disks by their extensions, beside it or in disks/, and files as they are', async () => {
    await put('100/qemu-1/drive-scsi0.raw', 'abc');
    await put('100/qemu-1/drive-scsi1.qcow2');
    await put('100/qemu-1/disks/vda.img');
    await put('100/qemu-1/disks/vda.dirty.json', '[]');
    await put('100/qemu-1/guest.conf', 'name: web\n');
    await put('100/qemu-1/archive.txt', 'zzz');
    await put('100/qemu-1/.hidden');
    await utimes(join(path, '100/qemu-1/guest.conf'), 1000, 1000);
    const backup = await openBackup(await openStore());
    expect(texts(backup.disks)).toEqual(['drive-scsi0', 'drive-scsi1', 'vda']);
    expect(backup.files.map(({ name, size }) => [name, size])).toEqual([
      ['archive.txt', 3],
      ['guest.conf', 10],
    ]);
    expect(backup.files[1]?.modified).toEqual({ seconds: 1000, nanoseconds: 0 });
    expect(backup.problems).toEqual([]);
    expect(backup.rootfs).toBeUndefined();
    const disk = await backup.disks[0]?.open(unending);
    expect(disk?.size).toBe(3);
    await disk?.close();
  });

  it('has a problem where two files are one disk, and shows the first of the order', async () => {
    await put('100/qemu-1/a.qcow2');
    await put('100/qemu-1/a.raw', 'raw');
    await put('100/qemu-1/disks/a.raw', 'other');
    const backup = await openBackup(await openStore());
    expect(texts(backup.disks)).toEqual(['a']);
    expect(backup.problems).toEqual([
      'a.qcow2 is not shown: a.raw is the disk a already',
      'disks/a.raw is not shown: a.raw is the disk a already',
    ]);
    const disk = await backup.disks[0]?.open(unending);
    expect(disk?.size).toBe(3);
    await disk?.close();
  });

  it('lists a disk that is a symlink or a fifo, which then fails without being followed or waited for', async () => {
    await put('100/qemu-1/guest.conf', 'secret');
    await symlink('guest.conf', join(path, '100/qemu-1/link.raw'));
    await execa('mkfifo', [join(path, '100/qemu-1/pipe.raw')]);
    await symlink('/etc/passwd', join(path, '100/qemu-1/firewall.conf'));
    await mkdir(join(path, '100/qemu-1/folder.qcow2'));
    const backup = await openBackup(await openStore());
    expect(texts(backup.disks)).toEqual(['folder', 'link', 'pipe']);
    expect(texts(backup.files)).toEqual(['guest.conf']);
    expect(backup.problems).toHaveLength(4);
    for (const disk of backup.disks) await expect(disk.open(unending)).rejects.toThrow();
  });

  it('takes formats from backup.json, over the extension', async () => {
    const disks = {
      sda: { format: 'raw', file: 'drive.bin' },
      sdb: { format: 'raw', file: 'disks/b.qcow2' },
    };
    await put('100/qemu-1/backup.json', JSON.stringify({ id: 'x', disks }));
    await put('100/qemu-1/drive.bin', 'abcd');
    await put('100/qemu-1/disks/b.qcow2', 'QFI\xfb');
    await put('100/qemu-1/sdc.raw');
    const backup = await openBackup(await openStore());
    expect(texts(backup.disks)).toEqual(['sda', 'sdb', 'sdc']);
    expect(texts(backup.files)).toEqual(['backup.json']);
    const disk = await backup.disks[1]?.open(unending);
    expect(disk?.size).toBe(5); // as raw, whatever its name and header say
    await disk?.close();
  });

  it.each([
    ['{', 'backup.json is not used'],
    ['{"disks": {"a": {"format": "exe", "file": "a"}}}', 'disks.a.format'],
    ['{"disks": {"a": {"format": "raw", "file": "../../101/x.raw"}}}', 'is not shown'],
    ['{"disks": {"a": {"format": "raw", "file": "/etc/passwd"}}}', 'is not shown'],
    ['{"disks": {"a/b": {"format": "raw", "file": "a.raw"}}}', 'is not shown'],
    ['{"disks": {"gone": {"format": "raw", "file": "gone.raw"}}}', 'gone.raw is missing'],
    [`"${'x'.repeat(1_100_000)}"`, 'more than the 1048576 that are read'],
  ])('has a problem, and is there, with the backup.json %.60s', async (json, problem) => {
    await put('100/qemu-1/backup.json', json);
    await put('100/qemu-1/good.raw', 'abc');
    const backup = await openBackup(await openStore());
    expect(texts(backup.disks)).toContain('good');
    expect(backup.problems.join('\n')).toContain(problem);
  });

  it('has another version when a part comes, goes or changes, and else the same', async () => {
    await put('100/qemu-1/a.raw', 'abc');
    const store = await openStore();
    const version = async (): Promise<string> => (await openBackup(store)).version;
    const versions = [await version()];
    expect(await version()).toBe(versions[0]);
    await put('100/qemu-1/b.raw');
    versions.push(await version());
    await put('100/qemu-1/a.raw', 'abcd');
    versions.push(await version());
    await unlink(join(path, '100/qemu-1/b.raw'));
    versions.push(await version());
    expect(new Set(versions).size).toBe(4);
  });

  it('that went away is ENOENT', async () => {
    await put('100/qemu-1/a.raw');
    const store = await openStore();
    const [reference] = await store.backups(guest, unending);
    await rm(join(path, '100/qemu-1'), { recursive: true });
    if (!reference) throw new Error('no backup was made');
    await expect(store.open(guest, reference, unending)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

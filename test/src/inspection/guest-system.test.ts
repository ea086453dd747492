import { describe, expect, it } from 'vitest';
import { StillError } from '../../../src/errors.js';
import type { FileSystemKind } from '../../../src/filesystems/file-system.js';
import type { FoundVolume } from '../../../src/inspection/found-volume.js';
import { findSystem, type GuestSystem } from '../../../src/inspection/guest-system.js';
import type { Name } from '../../../src/name.js';
import { MemoryTree } from '../../conformance/memory-tree.js';

const { signal } = new AbortController();

/** A volume's files: paths of files with what they hold, and of folders, which end in a slash. */
type Files = Readonly<Record<string, string>>;

function treeOf(files: Files): MemoryTree {
  const tree = new MemoryTree();
  const folders = new Map([['', tree.root]]);
  const folderAt = (path: string): bigint => {
    const known = folders.get(path);
    if (known !== undefined) return known;
    const cut = path.lastIndexOf('/');
    const made = tree.addFolder();
    tree.link(folderAt(path.slice(0, Math.max(cut, 0))), path.slice(cut + 1), made);
    folders.set(path, made);
    return made;
  };
  for (const [path, text] of Object.entries(files)) {
    const cut = path.lastIndexOf('/');
    const folder = folderAt(path.slice(0, Math.max(cut, 0)));
    if (!path.endsWith('/')) tree.link(folder, path.slice(cut + 1), tree.addFile(text));
  }
  return tree;
}

interface Given {
  readonly files: Files | 'damaged';
  readonly kind?: FileSystemKind;
}

async function systemOf(
  given: readonly Given[],
): Promise<{ readonly system: GuestSystem; readonly problems: readonly string[] }> {
  const problems: string[] = [];
  const volumes = given.map(
    ({ kind = 'ext4' }, index): FoundVolume => ({
      path: ['vda', 'part', `${index + 1}`] as Name[],
      size: 1,
      content: { kind: 'file system', facts: { kind, uuid: `uuid-${index + 1}` } },
      partition: { disk: 'vda' as Name, number: index + 1 },
    }),
  );
  const tree = async (index: number): Promise<MemoryTree> => {
    const files = given[index]?.files ?? {};
    if (files === 'damaged') throw new StillError('EIO', 'its root is damaged');
    return treeOf(files);
  };
  const problem = (sentence: string): void => void problems.push(sentence);
  const system = await findSystem({ volumes, disks: ['vda' as Name], tree, problem }, signal);
  return { system, problems };
}

describe("a guest's system", () => {
  it('is where /etc/fstab is, with the others mounted where it says', async () => {
    const fstab = [
      'UUID=uuid-2 / ext4 defaults 0 1',
      'UUID=uuid-1 /boot/efi vfat umask=0077 0 1',
      '/dev/vda3 /home ext4 defaults 0 2',
      'tmpfs /tmp tmpfs defaults 0 0',
      'UUID=uuid-3 /mnt ext4 noauto 0 0',
    ].join('\n');
    const { system, problems } = await systemOf([
      { kind: 'vfat', files: { 'EFI/': '' } },
      { files: { 'etc/fstab': fstab } },
      { files: { 'alice/': '' } },
    ]);
    expect(system).toEqual({
      kind: 'unix',
      root: 1,
      mounts: [
        { path: ['boot', 'efi'], volume: 0 },
        { path: ['home'], volume: 2 },
      ],
    });
    expect(problems).toEqual([]);
  });

  it('is also where the usual folders are, without a table', async () => {
    const { system } = await systemOf([{ files: { 'etc/': '', 'usr/': '', 'var/': '', 'bin/': '' } }]);
    expect(system).toEqual({ kind: 'unix', root: 0, mounts: [] });
  });

  it('is not every volume that has a folder etc', async () => {
    const { system } = await systemOf([{ files: { 'etc/motd': 'a backup of /etc' } }]);
    expect(system).toEqual({ kind: 'none' });
  });

  it('is the first of several, and the others are told of', async () => {
    const { system, problems } = await systemOf([
      { files: { 'etc/fstab': '' } },
      { files: { 'etc/fstab': '' } },
    ]);
    expect(system).toMatchObject({ kind: 'unix', root: 0 });
    expect(problems).toEqual([expect.stringMatching(/more than one system.*vda\/part\/1.*vda\/part\/2/)]);
  });

  it('tells what it can not mount, and why', async () => {
    const fstab = [
      'UUID=gone /data ext4 defaults 0 2',
      '/dev/disk/by-path/pci-1-part1 /by-path ext4 defaults 0 2',
      'server:/export /net nfs defaults 0 0',
      '/home /srv/home none bind 0 0',
    ].join('\n');
    const { system, problems } = await systemOf([{ files: { 'etc/fstab': fstab } }]);
    expect(system).toMatchObject({ mounts: [] });
    expect(problems).toEqual([
      expect.stringMatching(/^\/data .*no volume is UUID=gone/),
      expect.stringMatching(/^\/by-path .*can't be told from outside/),
      expect.stringMatching(/^\/net .*server:\/export/),
      expect.stringMatching(/^\/srv\/home .*no disk of its own/),
    ]);
  });

  it('of Windows has its drives by letters, without what only the boot needs', async () => {
    const { system } = await systemOf([
      { kind: 'vfat', files: { 'EFI/Microsoft/': '' } },
      { kind: 'ntfs', files: { 'Users/': '' } },
      { kind: 'ntfs', files: { 'Windows/System32/': '', 'Recovery/WindowsRE/': '' } },
      { kind: 'ntfs', files: { 'Recovery/WindowsRE/': '' } },
      { kind: 'exfat', files: { 'photos/': '' } },
    ]);
    expect(system).toEqual({
      kind: 'windows',
      drives: [
        { path: ['C'], volume: 2 },
        { path: ['D'], volume: 1 },
        { path: ['E'], volume: 4 },
      ],
    });
  });

  it('is found though a volume beside it is damaged, which is told', async () => {
    const { system, problems } = await systemOf([{ files: 'damaged' }, { files: { 'etc/fstab': '' } }]);
    expect(system).toMatchObject({ kind: 'unix', root: 1 });
    expect(problems).toEqual([expect.stringMatching(/vda\/part\/1.*its root is damaged/)]);
  });
});

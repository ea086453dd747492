import { messageOf, StillError } from '../errors.js';
import { type Name, nameFromText } from '../name.js';
import type { Attributes } from '../tree/attributes.js';
import type { Tree } from '../tree/tree.js';
import { volumesNamed } from './device-names.js';
import { type FoundVolume, volumeText } from './found-volume.js';
import { type FstabEntry, mostFstabBytes, parseFstab } from './fstab.js';

/** How the file systems of a guest make up its own tree. Volumes are told by their places among those that were found. */
export type GuestSystem =
  | { readonly kind: 'unix'; readonly root: number; readonly mounts: readonly GuestMount[] }
  | { readonly kind: 'windows'; readonly drives: readonly GuestMount[] }
  | { readonly kind: 'none' };

export interface GuestMount {
  /** At least one name. */
  readonly path: readonly Name[];
  readonly volume: number;
}

/** What is asked about a guest. */
export interface Guest {
  readonly volumes: readonly FoundVolume[];
  /** In the hypervisor's order. */
  readonly disks: readonly Name[];
  /** The file system of a volume, by its place. It may fail. */
  tree(volume: number, signal: AbortSignal): Promise<Tree>;
  /** To be called with each sentence about what of the guest's own tree can't be shown. */
  readonly problem: (sentence: string) => void;
}

/** Finds a guest's system: the volume with its root, and where the others are mounted. */
export async function findSystem(guest: Guest, signal: AbortSignal): Promise<GuestSystem> {
  const { volumes, problem } = guest;
  const found: Array<{ readonly kind: 'unix' | 'windows'; readonly volume: number }> = [];
  for (const [volume, { content, path }] of volumes.entries()) {
    if (content.kind !== 'file system') continue;
    try {
      const tree = await guest.tree(volume, signal);
      if (await isUnixRoot(tree, signal)) found.push({ kind: 'unix', volume });
      else if (await isWindowsDrive(tree, signal)) found.push({ kind: 'windows', volume });
    } catch (error) {
      signal.throwIfAborted();
      problem(`${volumeText({ path })} may hold a system, and can't be looked into: ${messageOf(error)}.`);
    }
  }
  const [first, ...others] = found;
  if (!first) return { kind: 'none' };
  const nameOf = (volume: number): string => volumeText(volumes[volume] ?? { path: [] });
  if (others.length > 0) {
    const names = others.map(({ volume }) => nameOf(volume)).join(', ');
    problem(
      `There is more than one system: rootfs/ is the one on ${nameOf(first.volume)}; those on ${names} are under files/.`,
    );
  }
  return first.kind === 'unix'
    ? { kind: 'unix', root: first.volume, mounts: await mountsOf(guest, first.volume, signal) }
    : { kind: 'windows', drives: await drivesOf(guest, first.volume, signal) };
}

const usualFolders = ['bin', 'lib', 'root', 'sbin', 'usr', 'var'].map(nameFromText);
const etc = nameFromText('etc');
const fstab = nameFromText('fstab');

async function isUnixRoot(tree: Tree, signal: AbortSignal): Promise<boolean> {
  const folder = await at(tree, [etc], signal);
  if (folder?.type !== 'directory') return false;
  if ((await at(tree, [etc, fstab], signal)) !== undefined) return true;
  const there = await Promise.all(usualFolders.map((name) => at(tree, [name], signal)));
  return there.filter((attributes) => attributes !== undefined).length >= 3;
}

const windowsNames = ['Windows', 'WINDOWS', 'windows', 'WINNT'].map(nameFromText);
const system32Names = ['System32', 'system32', 'SYSTEM32'].map(nameFromText);

async function isWindowsDrive(tree: Tree, signal: AbortSignal): Promise<boolean> {
  for (const windows of windowsNames) {
    for (const system32 of system32Names) {
      if ((await at(tree, [windows, system32], signal))?.type === 'directory') return true;
    }
  }
  return false;
}

/** What a path leads to, along no link. */
async function at(tree: Tree, path: readonly Name[], signal: AbortSignal): Promise<Attributes | undefined> {
  let attributes: Attributes | undefined = await tree.attributes(tree.root, signal);
  for (const name of path) {
    if (attributes?.type !== 'directory') return undefined;
    attributes = (await tree.lookup(attributes.inode, name, signal)).attributes;
  }
  return attributes;
}

/** Types and options of a table's lines that mount nothing of the guest's own disks. */
const noDisk = [
  'proc',
  'sysfs',
  'tmpfs',
  'devpts',
  'devtmpfs',
  'cgroup',
  'cgroup2',
  'overlay',
  'efivarfs',
  'debugfs',
];
const networked = ['nfs', 'nfs4', 'cifs', 'smb3', 'ceph', 'glusterfs', '9p', 'virtiofs', 'fuse.sshfs'];

async function mountsOf(guest: Guest, root: number, signal: AbortSignal): Promise<GuestMount[]> {
  const { volumes, disks, problem } = guest;
  const mounts: GuestMount[] = [];
  for (const entry of await tableOf(guest, root, signal)) {
    const { source, path, type, options } = entry;
    if (path.length === 0 || noDisk.includes(type) || options.has('noauto')) continue;
    const place = `/${volumeText(entry)}`;
    const say = (why: string): void => problem(`${place} of the guest is not mounted in rootfs/: ${why}.`);
    if (options.has('bind') || options.has('rbind') || networked.includes(type)) {
      say(`its /etc/fstab takes it from ${source}, which is on no disk of its own`);
      continue;
    }
    const named = volumesNamed(source, volumes, disks);
    const [first, ...others] = named ?? [];
    if (!first) {
      say(named ? `no volume is ${source}` : `what ${source} stands for can't be told from outside`);
      continue;
    }
    if (others.length > 0)
      problem(`${source} could be more than one volume: ${place} is ${volumeText(first)}.`);
    if (first.content.kind !== 'file system') {
      say(`${volumeText(first)} holds ${contentText(first)}`);
      continue;
    }
    mounts.push({ path, volume: volumes.indexOf(first) });
  }
  return mounts;
}

function contentText({ content }: FoundVolume): string {
  switch (content.kind) {
    case 'file system':
      return content.facts.kind;
    case 'other':
      return content.description;
    case 'unknown':
      return 'nothing that is known';
    case 'unreadable':
      return "what can't be read";
  }
}

async function tableOf(guest: Guest, root: number, signal: AbortSignal): Promise<FstabEntry[]> {
  const tree = await guest.tree(root, signal);
  try {
    const table = await at(tree, [etc, fstab], signal);
    if (!table) return [];
    if (table.type !== 'file')
      throw new StillError('EINVAL', `it is a ${table.type}, and only a file is read`);
    const { handle } = await tree.open(table.inode, 'read', signal);
    try {
      const bytes = Buffer.alloc(Math.min(table.size, mostFstabBytes));
      return parseFstab(bytes.subarray(0, await tree.read(handle, 0, bytes, signal)));
    } finally {
      await tree.release(handle);
    }
  } catch (error) {
    signal.throwIfAborted();
    guest.problem(
      `The guest's /etc/fstab can't be read, so that rootfs/ is its root file system alone: ${messageOf(error)}.`,
    );
    return [];
  }
}

const firstLetter = 'C'.charCodeAt(0);
const mostDrives = 24;
const driveKinds = ['ntfs', 'exfat', 'vfat'];

/** The system's drive is C, the others follow in order, without what only the boot of a machine needs. */
async function drivesOf(guest: Guest, system: number, signal: AbortSignal): Promise<GuestMount[]> {
  const drives = [system];
  for (const [volume, { content }] of guest.volumes.entries()) {
    if (volume === system || content.kind !== 'file system') continue;
    if (!driveKinds.includes(content.facts.kind)) continue;
    try {
      if (!(await isForBoot(await guest.tree(volume, signal), signal))) drives.push(volume);
    } catch {
      // That it can't be read was told when systems were looked for.
      signal.throwIfAborted();
    }
  }
  return drives.slice(0, mostDrives).map((volume, index) => ({
    path: [nameFromText(String.fromCharCode(firstLetter + index))],
    volume,
  }));
}

const bootPaths = [['EFI'], ['efi'], ['Boot', 'BCD'], ['Recovery', 'WindowsRE']].map((path) =>
  path.map(nameFromText),
);

async function isForBoot(tree: Tree, signal: AbortSignal): Promise<boolean> {
  for (const path of bootPaths) if (await at(tree, path, signal)) return true;
  return false;
}

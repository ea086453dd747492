import { access } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { IdMaps } from '../../id-map.js';
import { nameToText } from '../../name.js';
import { type LxcConfig, readLxcConfig } from './lxc-config.js';
import { isBind, type MountEntry } from './mount-entry.js';
import type { LxcGuestSettings } from './settings.js';

/** A container as its configuration has it at present. */
export interface Container {
  /** The folder of the root file system; undefined where it is not told, or is none. */
  readonly rootfs: string | undefined;
  /** Why not. */
  readonly noRootfs: string;
  /** How ids are to be shown. */
  readonly ids: IdMaps;
  /** Storage of its own that is mounted in it beside the root file system. */
  readonly storage: readonly MountEntry[];
  /** What else of the host's is mounted in it, and is not shown: the folders beneath are. */
  readonly foreign: ReadonlyArray<{ readonly mount: MountEntry; readonly reason: string }>;
}

const noConfig: LxcConfig = { rootfs: undefined, users: undefined, groups: undefined, mounts: [] };
/** Types whose path is a folder. */
const folderTypes = ['dir', 'btrfs', 'best'];
/** File systems that hold nothing to be backed up. */
const virtual =
  /^(proc|sysfs|tmpfs|ramfs|devtmpfs|devpts|mqueue|cgroup2?|securityfs|debugfs|tracefs|bpf|efivarfs|pstore|hugetlbfs|fusectl|configfs|binfmt_misc)$/;
/** Folders of the host's that are the system's, not somebody's files. */
const systemFolder = /^\/?(proc|sys|dev|run)(\/|$)/;

/** With LXC's configuration of the container, where nobody said which but it lies beside the root file system, as LXC has it. */
export async function withConfiguration(settings: LxcGuestSettings): Promise<LxcGuestSettings> {
  const { configuration, rootfs } = settings;
  if (configuration !== undefined || rootfs === undefined) return settings;
  const beside = join(dirname(rootfs), 'config');
  return access(beside).then(
    () => ({ ...settings, configuration: beside }),
    () => settings,
  );
}

/** Looks at what there is to know of a container. EINVAL: its configuration can't be understood; ENOENT: it is gone. */
export async function readContainer(settings: LxcGuestSettings): Promise<Container> {
  const config =
    settings.configuration === undefined ? noConfig : await readLxcConfig(settings.configuration);
  const source = config.rootfs;
  const isFolder = source !== undefined && folderTypes.includes(source.type) && source.path.startsWith('/');
  const shown = settings.ids === 'container';
  const storage = new Map<string, MountEntry>();
  const foreign: Array<Container['foreign'][number]> = [];
  for (const mount of config.mounts) {
    const { options, type } = mount;
    if (virtual.test(type) || systemFolder.test(mount.source)) continue;
    const place = mount.path.map(nameToText).join('/');
    if (isBind(mount) && options.includes('ro')) {
      foreign.push({
        mount,
        reason: `it is ${mount.source} of the host, and can't be written by the container`,
      });
      storage.delete(place);
    } else storage.set(place, mount);
  }
  return {
    rootfs: settings.rootfs ?? (isFolder ? source.path : undefined),
    noRootfs:
      source === undefined
        ? 'its configuration names no lxc.rootfs.path'
        : `its root file system is of type ${source.type}, and ${source.path} is no folder`,
    ids: shown ? { users: settings.idMap ?? config.users, groups: settings.idMap ?? config.groups } : {},
    storage: [...storage.values()],
    foreign,
  };
}

/** What LXC calls a container, and the folder in which it has it; undefined where nobody said. */
export interface LxcName {
  readonly name: string;
  readonly lxcPath: string;
}

/** As said; else by where its configuration lies: `LXCPATH/NAME/config`. */
export function lxcNameOf({ name, lxcPath, configuration }: LxcGuestSettings): LxcName | undefined {
  const folder =
    configuration !== undefined && basename(configuration) === 'config' ? dirname(configuration) : undefined;
  const known = name ?? (folder && basename(folder));
  if (known === undefined) return undefined;
  return { name: known, lxcPath: lxcPath ?? (folder ? dirname(folder) : '/var/lib/lxc') };
}

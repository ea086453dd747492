import { type ArchiveFormat, archiveOfFileName } from '../../archives/archive-format.js';
import { openHostFolder } from '../../archives/host-folder/host-folder.js';
import type { ArchiveHost } from '../../archives/hosted/archive-host.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import type { IdMap } from '../../id-map.js';
import type { Logger } from '../../log.js';
import { type Name, nameToText } from '../../name.js';
import type { Tree } from '../../tree/tree.js';
import type { BackupPart } from './backup-part.js';
import { openStoredArchive } from './stored-archive.js';
import { inFolder, type StoredStat } from './stored-entry.js';

const rootfsFolder = 'rootfs' as Name;
/** How archives of whole containers are called; any other name will do where there is only one. */
const usualStems = ['archive', 'rootfs', 'root'];

/** How the `rootfs/` of a store's backups are opened. */
export interface RootfsOptions {
  /** Changes the ids of container folders. Archives tell the container's own. */
  readonly idMap?: IdMap;
  /** Opens archives. */
  readonly archives: ArchiveHost;
  readonly log: Logger;
}

interface BackupPlace extends RootfsOptions {
  readonly folder: StoreFolder;
  /** The backup's folder within the store. */
  readonly backup: Name;
}

/** The part of a backup that is shown as `rootfs/`. */
export interface StoredRootfs {
  /** Within the backup's folder. Undefined: the backup has none. */
  readonly path?: Name;
  /** Undefined: it is no archive. */
  readonly format?: ArchiveFormat;
  readonly open?: (
    place: BackupPlace,
    signal: AbortSignal,
    problem: (sentence: string) => void,
  ) => Promise<Tree>;
  readonly problems: readonly string[];
}

/**
 * The container's tree in a backup: the folder `rootfs/`, else an archive: of the usual names the first, else the only
 * one there is. Other archives are files like any other.
 */
export function rootfsAmong(parts: readonly BackupPart[]): StoredRootfs {
  if (parts.some(({ path, type }) => path === rootfsFolder && type === 'directory')) {
    return {
      path: rootfsFolder,
      open: ({ folder, backup, idMap }, signal) =>
        openHostFolder(
          folder,
          inFolder(backup, rootfsFolder),
          idMap ? { ids: { users: idMap, groups: idMap } } : {},
          signal,
        ),
      problems: [],
    };
  }
  const found = parts.flatMap(({ name, path, type, stat }): Archive[] => {
    const archive = name === path && type === 'file' ? archiveOfFileName(name) : undefined;
    return archive && stat ? [{ ...archive, name, stat }] : [];
  });
  const [first, ...others] = found.sort((a, b) => rank(a) - rank(b));
  if (!first) return { problems: [] };
  if (others.length > 0 && rank(first) === usualStems.length) {
    const names = found.map(({ name }) => nameToText(name)).join(', ');
    return { problems: [`there is no rootfs/: each of ${names} may be the container's; call it archive.…`] };
  }
  const { name, format, stat } = first;
  return {
    path: name,
    format,
    open: ({ folder, backup, archives, log }, signal, problem) =>
      openStoredArchive(
        { folder, path: inFolder(backup, name), format, stat, archives, log },
        signal,
        problem,
      ),
    problems: others.map(
      (other) =>
        `${nameToText(other.name)} is shown as the file it is: rootfs/ is what ${nameToText(name)} holds`,
    ),
  };
}

interface Archive {
  readonly name: Name;
  readonly stem: string;
  readonly format: ArchiveFormat;
  readonly stat: StoredStat;
}

function rank({ stem }: Archive): number {
  const at = usualStems.indexOf(stem);
  return at === -1 ? usualStems.length : at;
}

import type { Disk } from '../disks/disk.js';
import type { Name } from '../name.js';
import type { Time } from '../time.js';
import type { OpenTree } from '../tree/tree.js';

/** A place of finished backups. */
export interface BackupStore {
  /** How the mount and its user call the store; matches `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`. */
  readonly name: string;

  /** The guests that have a folder in the store: the same array as long as they are the same. Reads one folder, no backup. */
  guests(signal: AbortSignal): Promise<readonly Name[]>;
  /**
   * The backups of a guest, oldest first: the same array as long as they are the same. Reads the guest's folder, no
   * backup. ENOENT: no such guest.
   */
  backups(guest: Name, signal: AbortSignal): Promise<readonly BackupReference[]>;
  /** When guests came or went last; of a guest: when its backups did. Lists nothing. ENOENT: no such guest. */
  modified(guest: Name | undefined, signal: AbortSignal): Promise<Time>;
  /** What people have said of a backup: looks at two files of it. A backup that went away has none. */
  marks(guest: Name, backup: BackupReference, signal: AbortSignal): Promise<BackupMarks>;
  /** Opens a backup: finds its parts without reading them. ENOENT: it went away. */
  open(guest: Name, backup: BackupReference, signal: AbortSignal): Promise<Backup>;

  /** Has `listener` called when the guests of the store (no guest given) or the backups of a guest may have changed. */
  watch(listener: (guest?: Name) => void): () => void;
  close(): Promise<void>;
}

/** A backup as its guest's folder tells of it. */
export interface BackupReference {
  /** When the guest was backed up. */
  readonly time: Time;
  /** The name of the backup's own folder in the store. */
  readonly folder: Name;
  /** Undefined where the folder's name does not tell. */
  readonly kind: 'qemu' | 'lxc' | undefined;
}

/** What people have said of a backup. */
export interface BackupMarks {
  /** It is not pruned. */
  readonly isProtected: boolean;
  /** Undefined where there is none. May have several lines. */
  readonly note: string | undefined;
}

/** An opened backup. Its parts are opened one by one, when they are asked for. */
export interface Backup {
  readonly reference: BackupReference;
  /** Stands for what lay in the backup's folder when it was opened: another one means that parts came, went or changed. */
  readonly version: string;
  /** Whole small files beside the disks, as they lie in the store (`guest.conf`, `backup.log`, an archive…). */
  readonly files: readonly StoredFile[];
  readonly disks: readonly StoredDisk[];
  /** The container's tree, where the backup holds one: a folder, or an archive. */
  readonly rootfs?: OpenTree;
  /** What is wrong with the backup, one sentence each, as far as it is known without opening its parts. */
  readonly problems: readonly string[];
}

/** A file of a backup that is shown as it is. */
export interface StoredFile {
  readonly name: Name;
  /** Bytes. */
  readonly size: number;
  readonly modified: Time;
  /** The caller closes it. A file is read like a disk. */
  open(signal: AbortSignal): Promise<Disk>;
}

/** A disk of a backup. */
export interface StoredDisk {
  /** The hypervisor's name of the device (`drive-scsi0`). */
  readonly name: Name;
  /** Opens the disk with its whole chain; its dirty extents are this backup's own layer. The caller closes it. */
  open(signal: AbortSignal): Promise<Disk>;
}

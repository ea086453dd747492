import type { StoreFolder } from '../../disks/store-folder.js';
import type { BackupDescription } from '../../stores/directory/backup-json.js';
import type { Bandwidth } from '../job/bandwidth.js';
import type { Narration } from '../job/narration.js';
import type { PartProgress } from '../job/part-progress.js';
import type { MountedSnapshot } from '../mounted/mounted-snapshot.js';

/** A backup that is being made: where it comes from, and where it goes. */
export interface BackupWork {
  readonly snapshot: MountedSnapshot;
  readonly store: StoreFolder;
  readonly guest: string;
  /** Null: a full backup. */
  readonly chain: string | null;
  /** The names of the disks that are wanted; undefined: all. */
  readonly disks: readonly string[] | undefined;
  /** What is written here becomes the backup. */
  readonly folder: string;
  /** A private folder, with a short path, for sockets and what is passed to programs. */
  readonly sockets: string;
  readonly bandwidth: Bandwidth;
  readonly log: Narration;
  readonly progress: (progress: PartProgress) => void;
}

/** What a guest's kind adds to `backup.json`. */
export type StoredContent = Pick<BackupDescription, 'disks' | 'archive'> & Record<string, unknown>;

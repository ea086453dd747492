/** `unchecked`: there are no checksums of it, so nobody knows. */
export type State = 'fine' | 'damaged' | 'unchecked';

/** A range that is damaged, in bytes of the disk as the guest sees it, or of the file. */
export interface DamagedRange {
  readonly offset: number;
  readonly length: number;
  /** What was found, in a few words. */
  readonly why: string;
  /** The backup whose stored bytes are damaged; null: it is not known which one of those that this one builds on. */
  readonly from: string | null;
}

/** What was found of a disk, an archive or another file of a backup. */
export interface PartVerdict {
  /** Within the backup's folder. */
  readonly file: string;
  readonly state: State;
  /** What was to be looked at, in bytes: of a disk as the guest sees it. */
  readonly bytes: number;
  readonly damagedBytes: number;
  /** The first ranges, in ascending order. */
  readonly damage: readonly DamagedRange[];
  /** Why it is unchecked, or damaged as a whole. */
  readonly reason?: string;
}

export interface BackupVerdict {
  readonly guest: string;
  readonly backup: string;
  readonly state: State;
  readonly parts: readonly PartVerdict[];
  /** What is wrong with the backup itself and with what it builds on, one sentence each. */
  readonly problems: readonly string[];
  /** The backups that build on it. */
  readonly dependents: readonly string[];
}

export interface GuestVerdict {
  readonly guest: string;
  readonly backups: readonly BackupVerdict[];
  /** What interrupted work has left; the next backup or prune clears it away. */
  readonly leftovers: readonly string[];
  readonly seconds: number;
  /** Why the guest could not be verified to the end. */
  readonly error?: string;
  /** The guest was in use. */
  readonly busy?: boolean;
}

/** The worst of several. */
export function worst(states: Iterable<State>): State {
  const all = new Set(states);
  return all.has('damaged') ? 'damaged' : all.has('unchecked') ? 'unchecked' : 'fine';
}

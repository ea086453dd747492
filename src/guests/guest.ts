import type { Disk } from '../disks/disk.js';
import type { Name } from '../name.js';
import type { Time } from '../time.js';
import type { OpenTree } from '../tree/tree.js';

/** A guest that runs, or could: its snapshots are taken and ended here. */
export interface GuestSource {
  /** How the mount and its user call the guest; matches `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`. */
  readonly id: string;
  readonly type: 'qemu' | 'lxc';

  /** What is known of the guest at present: the text of `guest.json`. A guest that does not answer is a state, not an error. */
  describe(signal: AbortSignal): Promise<GuestDescription>;
  /** The guest's own configuration files as they are now: `guest.conf`, and `firewall.conf` where there is one. */
  configuration(signal: AbortSignal): Promise<readonly GuestFile[]>;

  /** The snapshots that are open, oldest first: the same array as long as they are the same. */
  readonly snapshots: readonly Snapshot[];
  /**
   * Takes a snapshot. EINVAL: not a name; EEXIST: there is one of that name; EBUSY: another is open, or another
   * program has the hypervisor; ETIMEDOUT; EIO: the hypervisor refused. After a failure or an abort nothing is left.
   */
  take(name: SnapshotName, signal: AbortSignal): Promise<Snapshot>;
  /** Has `listener` called when a snapshot came, changed what it says of itself, or went. Returns what ends that. */
  watch(listener: (snapshot: Snapshot) => void): () => void;
  /** Ends every open snapshot, by its outcome: one that is pending counts as a failure. */
  close(): Promise<void>;
}

/** What all guests tell of themselves; each kind tells more. */
export interface GuestDescription {
  readonly id: string;
  readonly type: 'qemu' | 'lxc';
  /** `running`, `paused`, `off`, or what the hypervisor says; `unknown` where it does not answer, and `reason` says why. */
  readonly state: string;
  readonly reason?: string;
}

/** A small file that is shown as it is. */
export interface GuestFile {
  readonly name: Name;
  readonly bytes: Buffer;
  readonly modified: Time;
}

/** The name of a snapshot's folder, taken apart: `name`, or `chain@name`. */
export interface SnapshotName {
  /** The whole, as it is shown. */
  readonly folder: string;
  readonly chain: string | undefined;
  readonly name: string;
}

const part = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Takes a snapshot's name apart. Undefined: no snapshot can have that name. */
export function parseSnapshotName(folder: string): SnapshotName | undefined {
  const parts = folder.split('@');
  if (parts.length > 2 || !parts.every((text) => part.test(text))) return undefined;
  const [first = '', second] = parts;
  return second === undefined
    ? { folder, chain: undefined, name: first }
    : { folder, chain: first, name: second };
}

export const outcomes = ['pending', 'success', 'failure'] as const;
export type Outcome = (typeof outcomes)[number];

/** A guest's state at one instant, open for reading until it is ended. */
export interface Snapshot {
  /** Random: no other snapshot of any guest has it. */
  readonly id: string;
  readonly name: SnapshotName;
  /** The instant. */
  readonly time: Time;
  /** The guest's configuration files as they were then. */
  readonly files: readonly GuestFile[];
  readonly disks: readonly SnapshotDisk[];
  /** A container's own tree. */
  readonly rootfs?: OpenTree;
  /** What can't be shown and why, one sentence each: the same array as long as they are the same. */
  readonly problems: readonly string[];

  /** What `snapshot.json` says: plain values. */
  describe(): Readonly<Record<string, unknown>>;
  readonly outcome: Outcome;
  /** Says whether all is safely backed up; returns when that is durably recorded. EIO: success of what is known to be broken. */
  say(outcome: 'success' | 'failure'): Promise<void>;
  /**
   * Ends the snapshot: the hypervisor lets go of it, and reads that are under way or come later are EIO. Rejects where
   * something is left, which the next start mends; the snapshot is gone all the same.
   */
  end(): Promise<void>;
}

export interface SnapshotDisk {
  /** The hypervisor's name of the device (`drive-scsi0`). */
  readonly name: Name;
  /** Bytes. */
  readonly size: number;
  /** Only what has changed on it can be read. */
  readonly limited?: boolean;
  /**
   * The disk as it was: dirty since the chain's base; holes are zeros for certain. Given back by `discard` where
   * the snapshot's store allows. The caller closes it; the snapshot's end makes it useless before.
   */
  open(signal: AbortSignal): Promise<Disk>;
}

import type { Disk } from '../disks/disk.js';
import type { Name } from '../name.js';

/** A disk of a guest, as its volumes are looked for. */
export interface GuestDisk {
  /** As it is called in `disks/`, without `.raw`. */
  readonly name: Name;
  readonly disk: Disk;
}

/** A part of a guest's disks that can hold a file system: a partition, a whole disk, a logical volume. */
export interface Volume {
  /** Where it stands in `files/`: `vda/part/1`, `vda/raw`, `lvm/<group>/<volume>`. */
  readonly path: readonly Name[];
  /** What it holds. Undefined: it can't be read; a sentence has told why. Closing it closes nothing else. */
  readonly disk: Disk | undefined;
  /** A partition's, as /etc/fstab writes them (PARTUUID, PARTLABEL). */
  readonly partitionUuid?: string;
  readonly partitionLabel?: string;
  /** A partition's number, from 1; none for a whole disk or a logical volume. */
  readonly partition?: { readonly disk: Name; readonly number: number };
  /** A logical volume's names, as `/dev/<group>/<volume>` and `/dev/mapper/…` are made of them. */
  readonly logical?: { readonly group: string; readonly volume: string };
}

export interface FindVolumesOptions {
  readonly signal: AbortSignal;
  /** Called with each sentence about what can't be shown, and why. */
  readonly problem: (sentence: string) => void;
}

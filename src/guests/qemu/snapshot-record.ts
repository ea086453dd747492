import { z } from 'zod';

/** Why a snapshot's map of a disk is what it is: no chain, the chain begins, or the map is exact since `base`. */
export const modes = ['none', 'new', 'reuse'] as const;
export type Mode = (typeof modes)[number];

const recordedDisk = z.strictObject({
  name: z.string(),
  qomPath: z.string(),
  /** The node that the guest's device used before, and uses again after. */
  node: z.string(),
  sizeBytes: z.int().nonnegative(),
  mode: z.enum(modes),
  /** The names of what is made in QEMU. */
  fleecing: z.string(),
  filter: z.string(),
  access: z.string(),
  exportId: z.string(),
  /** The chain's bitmap until now, which is frozen; null where the whole disk is dirty. */
  oldBitmap: z.string().nullable(),
  /** The chain's bitmap from now on; null without a chain. */
  newBitmap: z.string().nullable(),
  /** Whether the bitmaps outlive the guest's QEMU. */
  persistent: z.boolean(),
  /** Only what is dirty is kept for the snapshot, and can be read. */
  limited: z.boolean(),
  /** Bitmaps of the chain that tell nothing any more: they go when the snapshot has succeeded. */
  superseded: z.array(z.string()),
});

/** What a snapshot is, written down before anything is made in QEMU, so that whoever comes next can take it apart again. */
export const snapshotRecord = z.strictObject({
  version: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  guest: z.string(),
  folder: z.string(),
  chain: z.string().nullable(),
  /** The monitor's socket, and the agent's where the guest has one. */
  monitor: z.string(),
  agent: z.string().nullable(),
  /** The listening socket that QEMU was given: who can connect to it knows that QEMU still has it. */
  socket: z.string(),
  /** Where the fleecing images are, though without names: an absolute path. */
  fleecingFolder: z.string(),
  /** What the filters do when copying takes longer: seconds. */
  copyTimeoutSeconds: z.int().positive(),
  /** The guest is about to be frozen and stopped by us, or is so: whoever finds this lets it run again. */
  pausing: z.boolean(),
  /** The snapshot was made whole. */
  taken: z.boolean(),
  disks: z.array(recordedDisk),
});

export type SnapshotRecord = z.output<typeof snapshotRecord>;
export type RecordedDisk = z.output<typeof recordedDisk>;

/** As which QEMU is passed the listening socket. */
export const listenerName = 'stillfs-nbd';

/** QEMU takes names of 31 characters, and these are to be known as ours among all others. */
export function nodeNames(
  id: string,
  index: number,
): Pick<RecordedDisk, 'fleecing' | 'filter' | 'access' | 'exportId'> {
  const prefix = `stillfs-${id.slice(0, 8)}-`;
  return {
    fleecing: `${prefix}fl${index}`,
    filter: `${prefix}cbw${index}`,
    access: `${prefix}acc${index}`,
    exportId: `${prefix}exp${index}`,
  };
}

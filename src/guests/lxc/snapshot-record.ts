import { z } from 'zod';
import { freezer } from './freezer.js';

const userCommand = z.union([z.array(z.string()).readonly(), z.string()]);

/** What a snapshot of a container is, written down before anything is made, so that whoever comes next can remove it again. */
export const lxcRecord = z.strictObject({
  version: z.literal(1),
  type: z.literal('lxc'),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  guest: z.string(),
  name: z.string(),
  /** The container is about to be frozen by us, or is so: whoever finds this lets it go on. */
  frozen: freezer.nullable(),
  /** The snapshot was made whole. */
  taken: z.boolean(),
  /** Subvolumes that are ours: in which folder, on which file system, by which name. */
  subvolumes: z.array(
    z.strictObject({ folder: z.string(), uuid: z.string(), name: z.string().startsWith('.stillfs-') }),
  ),
  /** What undoes a snapshot that a command of the user's takes. */
  command: z
    .strictObject({
      drop: userCommand,
      /** What `take` gave; null as long as it has not. */
      folder: z.string().nullable(),
      /** The process group that `take` runs in, and when its first process began: ticks since the system's start. */
      running: z.strictObject({ group: z.int().positive(), began: z.string() }).nullable(),
      dropMilliseconds: z.int().positive(),
    })
    .nullable(),
});

export type LxcRecord = z.output<typeof lxcRecord>;

import { z } from 'zod';
import { guestId, path, seconds } from './guest-values.js';
import { size } from './size.js';

/** A running VM, in the configuration and as `--guest` has it: the same keys. */
export const qemuGuestSchema = z.strictObject({
  id: guestId,
  type: z.literal('qemu').optional(),
  /** The monitor's socket. */
  qmp: path,
  agent: path.optional(),
  conf: path.optional(),
  firewall: path.optional(),
  fleecing: path,
  fleecingLimit: size.optional(),
  /** Names, or names with the images to be read while the guest is off. */
  disks: z.union([z.array(z.string().min(1)).min(1), z.record(z.string().min(1), path)]).optional(),
  readable: z.enum(['all', 'dirty']).optional(),
  takeTimeout: seconds.optional(),
  freezeTimeout: seconds.optional(),
  copyTimeout: z.int().positive().max(3600).optional(),
  maxAge: seconds.optional(),
});

export type QemuGuestConfig = z.output<typeof qemuGuestSchema>;

import { z } from 'zod';

/** What a guest, a store, a chain or a snapshot may be called: it becomes a folder's name and part of commands. */
export const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
export const plainNameRule =
  'a name of letters, digits, ".", "_" and "-", at most 63, that begins with a letter or digit';

const name = z.string().regex(plainName, `expected ${plainNameRule}`);
/** YAML reads `id: 100` as a number. */
const guestId = z.union([z.int().nonnegative().transform(String), name]);
const path = z.string().min(1);
const seconds = z.number().positive().max(1_000_000);

const units: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
/** Bytes, as a number or with a unit of 1024: `20G`. */
const size = z.union([z.int().positive(), z.string()]).transform((value, context) => {
  if (typeof value === 'number') return value;
  const [, digits, unit] = /^(\d+)([KMGT]?)$/.exec(value) ?? [];
  const bytes = Number(digits) * (units[unit ?? ''] ?? 1);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  context.addIssue({ code: 'custom', message: 'expected a size in bytes, or with K, M, G or T: 20G' });
  return z.NEVER;
});

/** A running guest, in the configuration and as `--guest` has it: the same keys. */
export const guestSchema = z.strictObject({
  id: guestId,
  type: z.enum(['qemu']).optional(),
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

export type GuestConfig = z.output<typeof guestSchema>;

import { z } from 'zod';
import { lxcGuestSchema } from './lxc-guest-schema.js';
import { qemuGuestSchema } from './qemu-guest-schema.js';

/** A guest by its type: a VM where none is said. */
export const guestSchema = z.discriminatedUnion('type', [qemuGuestSchema, lxcGuestSchema], {
  error: 'expected qemu or lxc',
});

export type GuestConfig = z.output<typeof guestSchema>;

/** The keys of a guest of that type; those of a VM where it is none. */
export function guestSchemaOf(type: unknown): typeof qemuGuestSchema | typeof lxcGuestSchema {
  return type === 'lxc' ? lxcGuestSchema : qemuGuestSchema;
}

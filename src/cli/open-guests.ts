import type { GuestSettings } from '../config/guest-settings.js';
import { messageOf } from '../errors.js';
import type { GuestSource } from '../guests/guest.js';
import { LxcGuest } from '../guests/lxc/lxc-guest.js';
import { QemuGuest } from '../guests/qemu/qemu-guest.js';
import type { Logger } from '../log.js';

/** Makes a source of each guest, which begins at once to mend what an earlier daemon has left. The caller closes them. */
export function openGuests(
  guests: readonly GuestSettings[],
  stateFolder: string,
  log: Logger,
): GuestSource[] {
  return guests.map((settings) =>
    settings.type === 'lxc'
      ? new LxcGuest(settings, stateFolder, log)
      : new QemuGuest(settings, stateFolder, log),
  );
}

/** Ends what is open; guests that don't answer hold up only themselves. */
export async function closeGuests(guests: readonly GuestSource[], log: Logger): Promise<void> {
  await Promise.all(
    guests.map((guest) =>
      guest.close().catch((error: unknown) => log.warn({ guest: guest.id }, messageOf(error))),
    ),
  );
}

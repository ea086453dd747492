import { z } from 'zod';
import { guestId, path, seconds } from './guest-values.js';
import { idMap } from './id-range.js';

const command = z.union([z.string().min(1), z.array(z.string()).min(1)], {
  error: 'expected a command: a line for the shell, or a list of a program and its arguments',
});

/** A container, in the configuration and as `--guest` has it: the same keys. */
export const lxcGuestSchema = z
  .strictObject({
    id: guestId,
    type: z.literal('lxc'),
    rootfs: path.optional(),
    /** LXC's own configuration of the container. */
    conf: path.optional(),
    firewall: path.optional(),
    name: z.string().min(1).optional(),
    lxcPath: path.optional(),
    snapshot: z.enum(['btrfs', 'command', 'none']),
    /** Where snapshots of subvolumes are made. */
    snapshots: path.optional(),
    take: command.optional(),
    drop: command.optional(),
    ids: z.enum(['container', 'host']).optional(),
    idMap: idMap.optional(),
    takeTimeout: seconds.optional(),
    freezeTimeout: seconds.optional(),
    maxAge: seconds.optional(),
  })
  .superRefine((guest, context) => {
    const say = (key: keyof typeof guest, message: string): void =>
      context.addIssue({ code: 'custom', path: [key], message });
    const byCommand = guest.snapshot === 'command';
    for (const key of ['take', 'drop'] as const) {
      if (byCommand && guest[key] === undefined)
        say(key, 'is missing: snapshot: command takes both, take and drop');
      if (!byCommand && guest[key] !== undefined) say(key, 'goes with snapshot: command');
    }
    if (guest.snapshot !== 'btrfs' && guest.snapshots !== undefined)
      say('snapshots', 'goes with snapshot: btrfs');
    if (!byCommand && guest.rootfs === undefined && guest.conf === undefined)
      say('rootfs', "is missing: expected a folder, or LXC's configuration of the container in conf");
  });

export type LxcGuestConfig = z.output<typeof lxcGuestSchema>;

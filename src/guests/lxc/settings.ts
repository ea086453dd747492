import type { IdMap } from '../../id-map.js';

/** A command of the user's: a program and its arguments, or a line for `sh -c`. */
export type UserCommand = readonly string[] | string;

/** A container, as the configuration tells of it. Paths are absolute. */
export interface LxcGuestSettings {
  readonly type: 'lxc';
  readonly id: string;
  /** LXC's own configuration of the container, and that of its firewall. */
  readonly configuration?: string;
  readonly firewall?: string;
  /** The folder of the root file system; that of LXC's configuration if not said. */
  readonly rootfs?: string;
  /** What LXC calls the container, and the folder in which it has it: without them it is not known whether it runs. */
  readonly name?: string;
  readonly lxcPath?: string;
  readonly snapshot: SnapshotWay;
  readonly ids: 'container' | 'host';
  /** In place of what LXC's configuration says. */
  readonly idMap?: IdMap;
  readonly takeMilliseconds: number;
  /** How long the container may stand still. */
  readonly freezeMilliseconds: number;
  /** After that a snapshot ends as a failure. */
  readonly longestSnapshotMilliseconds?: number;
}

/** How a snapshot is taken. */
export type SnapshotWay =
  /** Subvolumes; `folder`: where their snapshots are made, beside the subvolume if not said. */
  | { readonly kind: 'btrfs'; readonly folder?: string }
  | { readonly kind: 'command'; readonly take: UserCommand; readonly drop: UserCommand }
  /** The files as they are, while the container goes on. */
  | { readonly kind: 'none' };

/** What holds where the configuration says nothing. */
export const lxcDefaults = {
  ids: 'container',
  takeMilliseconds: 60_000,
  freezeMilliseconds: 10_000,
} as const;

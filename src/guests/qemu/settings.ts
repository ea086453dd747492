/** A running VM, as the configuration tells of it. */
export interface QemuGuestSettings {
  readonly type: 'qemu';
  readonly id: string;
  /** QMP's socket: an absolute path. */
  readonly monitor: string;
  /** The guest agent's socket. */
  readonly agent?: string;
  /** The hypervisor's configuration of the guest, and of its firewall, to be shown as they are. */
  readonly configuration?: string;
  readonly firewall?: string;
  /** Where what the guest overwrites is kept while a snapshot is open. */
  readonly fleecing: string;
  /** Bytes that all fleecing images of a snapshot may take up together. */
  readonly fleecingLimitBytes?: number;
  /** The names of the disks to be taken; all writable ones if not said. */
  readonly disks?: readonly string[];
  /** The images of a guest that is off, by the names of its disks. */
  readonly images?: Readonly<Record<string, string>>;
  readonly readable: 'all' | 'dirty';
  readonly takeMilliseconds: number;
  readonly freezeMilliseconds: number;
  /** How long a guest's write waits for the fleecing image before the snapshot is given up. */
  readonly copyTimeoutSeconds: number;
  /** After that a snapshot ends as a failure. */
  readonly longestSnapshotMilliseconds?: number;
}

/** What holds where the configuration says nothing. */
export const qemuDefaults = {
  readable: 'all',
  takeMilliseconds: 60_000,
  freezeMilliseconds: 10_000,
  copyTimeoutSeconds: 20,
} as const;

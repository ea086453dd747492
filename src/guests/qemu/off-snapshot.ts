import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  openDaemonsDisk,
  type RunningDaemon,
  startStorageDaemon,
} from '../../disks/storage-daemon/running-daemon.js';
import { messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { nameFromText } from '../../name.js';
import { type Time, timeFromDate } from '../../time.js';
import type { GuestFile, Outcome, Snapshot, SnapshotDisk, SnapshotName } from '../guest.js';
import { SnapshotStanding } from '../snapshot-standing.js';
import { CapturedDisk } from './captured-disk.js';
import type { OmittedDrive } from './drives.js';

const formats: Readonly<Record<string, string>> = { qcow2: 'qcow2', raw: 'raw', img: 'raw' };

interface Image {
  readonly name: string;
  readonly path: string;
  readonly format: string;
  readonly disk: CapturedDisk;
}

export interface OffGuest {
  readonly id: string;
  readonly images: Readonly<Record<string, string>>;
  /** A folder of our own for the daemon's socket. */
  readonly folder: string;
  readonly files: readonly GuestFile[];
  readonly log: Logger;
  readonly changed: (snapshot: Snapshot) => void;
  readonly gone: (snapshot: Snapshot) => void;
}

/**
 * A snapshot of a guest that is off: its images as they are, held by QEMU's own locks, so that no QEMU can write to them, nor the
 * guest be started, until it ends. There is no bitmap: of a chain's snapshot the whole disk is dirty.
 */
export class OffSnapshot implements Snapshot {
  readonly id = randomBytes(16).toString('hex');
  readonly time: Time = timeFromDate(new Date());
  readonly disks: readonly SnapshotDisk[];
  #ended = false;

  private constructor(
    readonly name: SnapshotName,
    readonly guest: OffGuest,
    private readonly images: readonly Image[],
    private readonly omitted: readonly OmittedDrive[],
    private readonly daemon: RunningDaemon,
    private readonly standing: SnapshotStanding,
  ) {
    this.disks = images.map(({ name: disk, disk: { size } }, index) => ({
      name: nameFromText(disk),
      size,
      open: async () => this.#disk(index).lent(),
    }));
  }

  /** EBUSY: a QEMU has an image open for writing; the guest is not off after all. */
  static async take(name: SnapshotName, guest: OffGuest, signal: AbortSignal): Promise<OffSnapshot> {
    const { found, omitted } = await imagesOf(guest);
    if (found.length === 0)
      throw new StillError(
        'ENODEV',
        `guest ${guest.id} is off and has no image to be read: give disks with paths`,
      );
    const socket = join(guest.folder, `off-${randomBytes(4).toString('hex')}.sock`);
    const daemon = startStorageDaemon(daemonOptions(found, socket));
    const images: Image[] = [];
    const standing = new SnapshotStanding(guest.id, name.folder, guest.log);
    let snapshot: OffSnapshot | undefined;
    const events = {
      // Nothing is freed by what is given back: the images are the guest's own.
      granuleBytes: 65_536,
      limited: false,
      baseSizeBytes: null,
      broken: () => standing.broken,
      failed: (error: unknown) => {
        if (standing.breakOff(`the image can't be read any more: ${messageOf(error)}`) && snapshot)
          guest.changed(snapshot);
      },
    };
    try {
      for (const [index, image] of found.entries()) {
        const disk = await openDaemonsDisk(
          daemon,
          socket,
          `d${index}`,
          `${image.path} of guest ${guest.id}`,
          signal,
        );
        images.push({ ...image, disk: new CapturedDisk(disk, { ...events, name: image.name }) });
      }
      snapshot = new OffSnapshot(name, guest, images, omitted, daemon, standing);
      return snapshot;
    } catch (error) {
      for (const { disk } of images) await disk.close();
      await daemon.stop();
      if (!/Failed to get .*lock/.test(messageOf(error))) throw error;
      throw new StillError('EBUSY', `an image of guest ${guest.id} is in use by another QEMU`, {
        cause: error,
      });
    }
  }

  get files(): readonly GuestFile[] {
    return this.guest.files;
  }

  get outcome(): Outcome {
    return this.standing.outcome;
  }

  get problems(): readonly string[] {
    return this.standing.problems;
  }

  describe(): Readonly<Record<string, unknown>> {
    const mode = this.name.chain === undefined ? 'none' : 'new';
    return {
      id: this.id,
      guest: this.guest.id,
      type: 'qemu',
      name: this.name.name,
      chain: this.name.chain ?? null,
      time: new Date(this.time.seconds * 1000).toISOString(),
      outcome: this.standing.outcome,
      broken: this.standing.broken ?? null,
      state: 'off',
      readable: 'all',
      disks: this.images.map(({ name, format, disk: { size } }) => ({
        name,
        size,
        format,
        mode,
        base: null,
        dirty: size,
        ...(mode === 'new' && { reason: 'the guest is off: nobody keeps a bitmap' }),
      })),
      omitted: this.omitted,
    };
  }

  async say(outcome: 'success' | 'failure'): Promise<void> {
    await this.standing.say(outcome);
    this.guest.changed(this);
  }

  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.standing.end();
    this.guest.gone(this);
    for (const { disk } of this.images) await disk.close();
    await this.daemon.stop();
    this.guest.log.info({ guest: this.guest.id, snapshot: this.name.folder }, 'snapshot ended');
  }

  #disk(index: number): CapturedDisk {
    this.standing.mustBeReadable();
    const disk = this.images[index]?.disk;
    if (!disk) throw new StillError('EIO', `${this.name.folder} has no disk ${index}`);
    return disk;
  }
}

/** An image's format is what its name says, never what its bytes say. */
async function imagesOf({ images }: OffGuest): Promise<{
  found: Array<Omit<Image, 'disk'>>;
  omitted: OmittedDrive[];
}> {
  const found: Array<Omit<Image, 'disk'>> = [];
  const omitted: OmittedDrive[] = [];
  for (const [name, path] of Object.entries(images)) {
    const status = await stat(path).catch(() => undefined);
    const format = status?.isBlockDevice() ? 'raw' : formats[path.split('.').at(-1) ?? ''];
    if (!status) omitted.push({ name, reason: `there is no ${path}` });
    else if (format === undefined)
      omitted.push({ name, reason: `${path} is neither .qcow2, .raw, .img nor a device` });
    else found.push({ name, path, format });
  }
  return { found, omitted };
}

function daemonOptions(images: readonly Omit<Image, 'disk'>[], socket: string): string[] {
  const options = images.flatMap(({ path, format }, index) => {
    const readOnly = { 'read-only': true };
    const nodes = [
      { driver: 'file', 'node-name': `f${index}`, filename: path, locking: 'on', ...readOnly },
      // A raw image alone would let others write to it: this is what makes it insist on the lock.
      {
        driver: 'blkdebug',
        'node-name': `l${index}`,
        image: `f${index}`,
        'unshare-child-perms': ['write', 'resize'],
        ...readOnly,
      },
      { driver: format, 'node-name': `d${index}`, file: `l${index}`, ...readOnly },
    ];
    return [
      ...nodes.flatMap((node) => ['--blockdev', JSON.stringify(node)]),
      ...['--export', `type=nbd,id=d${index},node-name=d${index},name=d${index}`],
    ];
  });
  // The server before what it exports.
  const connections = images.length * 2 + 2;
  return ['--nbd-server', `addr.type=unix,addr.path=${socket},max-connections=${connections}`, ...options];
}

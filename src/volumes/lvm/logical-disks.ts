import type { Disk } from '../../disks/disk.js';
import { messageOf, StillError } from '../../errors.js';
import { readRaidSuperblock } from './raid-superblock.js';
import { type Stripe, StripedDisk, type StripedSegment } from './striped-disk.js';
import {
  type ExtentPlace,
  extentPlaces,
  type LogicalSegment,
  type LogicalVolume,
  sectorBytes,
  type VolumeGroup,
  volumeNames,
} from './volume-group.js';

/** Volumes upon volumes: LVM's own stacks have four storeys. */
const mostStoreys = 8;
const mostImages = 64;

/** What the types of segments are called that are not read. */
const refused: Readonly<Record<string, string>> = {
  thin: 'a thin volume',
  'thin-pool': 'a pool of thin volumes',
  snapshot: 'a snapshot',
  cache: 'cached (dm-cache)',
  'cache-pool': 'the pool of a cache',
  writecache: 'cached (dm-writecache)',
  vdo: 'compressed (VDO)',
  'vdo-pool': 'a pool of compressed volumes (VDO)',
  integrity: 'protected by checksums (dm-integrity)',
  error: 'without a place on any disk',
};

/** Makes disks of a group's logical volumes. */
export class LogicalDisks {
  readonly #group: VolumeGroup;
  readonly #members: ReadonlyMap<string, Disk>;
  readonly #problem: (sentence: string) => void;
  readonly #disks = new Map<string, Promise<Disk>>();
  /** Snapshots of the old kind: the volume that holds what was changed since, or of which it is. */
  readonly #snapshots = new Set<string>();
  readonly #merging = new Set<string>();

  /** `members`: the disks of those physical volumes that are there, by their names in the group. */
  constructor(group: VolumeGroup, members: ReadonlyMap<string, Disk>, problem: (sentence: string) => void) {
    this.#group = group;
    this.#members = members;
    this.#problem = problem;
    for (const { segments } of group.logicalVolumes.values()) {
      for (const { type, section } of segments) {
        if (type !== 'snapshot') continue;
        const [store] = section.list('cow_store');
        const [merging] = section.list('merging_store');
        const [origin] = section.list('origin');
        if (typeof store === 'string') this.#snapshots.add(store);
        if (typeof merging === 'string') this.#snapshots.add(merging);
        if (typeof merging === 'string' && typeof origin === 'string') this.#merging.add(origin);
      }
    }
  }

  /** The bytes of a logical volume. EOPNOTSUPP: it is of a kind that is not read; EIO: a part of it is missing or damaged. */
  open(name: string, signal: AbortSignal): Promise<Disk> {
    return this.#volume(name, [], signal);
  }

  async #volume(name: string, above: readonly string[], signal: AbortSignal): Promise<Disk> {
    if (above.includes(name) || above.length >= mostStoreys) throw tooHigh(name);
    let disk = this.#disks.get(name);
    if (!disk) {
      disk = this.#make(name, above, signal);
      this.#disks.set(name, disk);
    }
    return disk;
  }

  async #make(name: string, above: readonly string[], signal: AbortSignal): Promise<Disk> {
    const volume = this.#group.logicalVolumes.get(name);
    if (!volume) throw new StillError('EIO', `there is no volume ${name}`);
    if (this.#snapshots.has(name)) throw notRead('a snapshot');
    if (this.#merging.has(name)) throw notRead('being merged with its snapshot');
    const path = [...above, name];
    const segments: StripedSegment[] = [];
    for (const segment of volume.segments) segments.push(await this.#segment(volume, segment, path, signal));
    const disk = new StripedDisk(segments, `${this.#group.name}/${name}`);
    if (disk.storeys > mostStoreys) throw tooHigh(name);
    return disk;
  }

  async #segment(
    volume: LogicalVolume,
    segment: LogicalSegment,
    path: readonly string[],
    signal: AbortSignal,
  ): Promise<StripedSegment> {
    const { extentBytes } = this.#group;
    const range = { offset: segment.start * extentBytes, length: segment.extents * extentBytes };
    switch (segment.type) {
      case 'striped': {
        const places = extentPlaces(segment, 'stripes');
        return { ...range, ...(await this.#striped(segment, places, path, signal)) };
      }
      case 'raid0':
      case 'raid0_meta': {
        const key = segment.type === 'raid0' ? 'raid0_lvs' : 'raids';
        const names = volumeNames(segment, key);
        const images = segment.type === 'raid0' ? names : names.filter((_, index) => index % 2 === 1);
        const places = images.map((image) => ({ volume: image, extent: 0 }));
        return { ...range, ...(await this.#striped(segment, places, path, signal)) };
      }
      case 'mirror':
        return { ...range, chunkBytes: range.length, stripes: [await this.#leg(segment, path, signal)] };
      case 'raid1': {
        const image = await this.#image(volume, segment, path, signal);
        return { ...range, chunkBytes: range.length, stripes: [image] };
      }
      case 'zero':
        return { ...range, chunkBytes: range.length, stripes: [] };
      default: {
        const kind = Object.hasOwn(refused, segment.type) ? refused[segment.type] : undefined;
        throw notRead(kind ?? `of the type ${JSON.stringify(segment.type.slice(0, 40))}`);
      }
    }
  }

  async #striped(
    segment: LogicalSegment,
    places: readonly ExtentPlace[],
    path: readonly string[],
    signal: AbortSignal,
  ): Promise<Pick<StripedSegment, 'chunkBytes' | 'stripes'>> {
    const extents = segment.extents / places.length;
    if (!Number.isInteger(extents))
      throw new StillError(
        'EIO',
        `${segment.extents} extents can't be dealt out to ${places.length} stripes`,
      );
    const bytes = extents * this.#group.extentBytes;
    const chunkBytes = places.length === 1 ? bytes : segment.section.count('stripe_size') * sectorBytes;
    if (chunkBytes === 0 || bytes % chunkBytes !== 0)
      throw new StillError('EIO', `chunks of ${chunkBytes} bytes don't fill stripes of ${bytes}`);
    const stripes: Stripe[] = [];
    for (const place of places) stripes.push(await this.#place(place, extents, path, signal));
    return { chunkBytes, stripes };
  }

  /** The first leg of a mirror that is there: others are filled from the first. */
  async #leg(segment: LogicalSegment, path: readonly string[], signal: AbortSignal): Promise<Stripe> {
    const places = extentPlaces(segment, 'mirrors');
    const failures: string[] = [];
    for (const [index, place] of places.slice(0, mostImages).entries()) {
      const stripe = await this.#unlessAbsent(failures, signal, () =>
        this.#place(place, segment.extents, path, signal),
      );
      if (!stripe) continue;
      if (index > 0)
        this.#problem(
          `${this.#shown(path)} is a mirror whose first copy is missing; another one is shown, which may be older.`,
        );
      return stripe;
    }
    throw new StillError('EIO', `no copy of the mirror can be read (${failures.join('; ')})`);
  }

  /** The image of a raid1 volume that has all that was written. */
  async #image(
    volume: LogicalVolume,
    segment: LogicalSegment,
    path: readonly string[],
    signal: AbortSignal,
  ): Promise<Stripe> {
    const names = volumeNames(segment, 'raids');
    if (names.length % 2 !== 0 || names.length > mostImages * 2)
      throw new StillError('EIO', `${names.length} volumes make up a raid1 volume`);
    const failures: string[] = [];
    const images: Array<RaidImage> = [];
    for (let index = 0; index * 2 < names.length; index++) {
      const [metadata, data] = [names[index * 2] ?? '', names[index * 2 + 1] ?? ''];
      const image = await this.#unlessAbsent(failures, signal, async () => {
        const disk = await this.#volume(metadata, path, signal);
        const superblock = await readRaidSuperblock(disk, signal);
        const place = await this.#place({ volume: data, extent: 0 }, segment.extents, path, signal);
        return { name: data, place, superblock };
      });
      if (image) images.push(image);
    }
    const newest = images.reduce<RaidImage['superblock']>(
      (best, { superblock }) =>
        superblock && (!best || superblock.events > best.events) ? superblock : best,
      undefined,
    );
    if (newest && (newest.level !== 1 || newest.isReshaping || newest.dataSector !== 0n))
      throw notRead('a RAID volume whose shape is being changed');
    const chosen = images.find(({ superblock }) => {
      // Before its first use nobody has written one, and all images are alike.
      if (!superblock || !newest) return !newest;
      const hasFailed = ((newest.failed >> BigInt(superblock.position % mostImages)) & 1n) === 1n;
      return superblock.events === newest.events && superblock.isRecovered && !hasFailed;
    });
    if (chosen) return chosen.place;
    const why = failures.length > 0 ? ` (${failures.join('; ')})` : '';
    throw new StillError('EIO', `${volume.name} has no image that is there and up to date${why}`);
  }

  /** Undefined where it is missing or damaged: another copy may be there. */
  async #unlessAbsent<T>(
    failures: string[],
    signal: AbortSignal,
    work: () => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      failures.push(messageOf(error));
      return undefined;
    }
  }

  /** So many extents of a physical or logical volume. */
  async #place(
    { volume, extent }: ExtentPlace,
    extents: number,
    path: readonly string[],
    signal: AbortSignal,
  ): Promise<Stripe> {
    const member = this.#group.physicalVolumes.get(volume);
    const { extentBytes } = this.#group;
    if (!member) {
      const disk = await this.#volume(volume, path, signal);
      if ((extent + extents) * extentBytes > disk.size)
        throw new StillError('EIO', `extents ${extent} to ${extent + extents} leave ${volume}`);
      return { disk, offset: extent * extentBytes };
    }
    const disk = this.#members.get(volume);
    if (!disk || member.isMissing)
      throw new StillError('EIO', `its physical volume ${shownUuid(member.uuid)} is missing`);
    const offset = member.start + extent * extentBytes;
    if (extent + extents > member.extents || offset + extents * extentBytes > disk.size)
      throw new StillError(
        'EIO',
        `extents ${extent} to ${extent + extents} leave its physical volume ${shownUuid(member.uuid)}`,
      );
    return { disk, offset };
  }

  #shown(path: readonly string[]): string {
    return `lvm/${this.#group.name}/${path[0]}`;
  }
}

interface RaidImage {
  readonly place: Stripe;
  readonly superblock: Awaited<ReturnType<typeof readRaidSuperblock>>;
}

/** As LVM's programs write it: in groups of 6, 4, 4, 4, 4, 4 and 6. */
export function shownUuid(uuid: string): string {
  return uuid.replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/, '$1-$2-$3-$4-$5-$6-$7');
}

function tooHigh(name: string): StillError {
  return new StillError('EIO', `${name} lies upon itself, or upon too many others`);
}

function notRead(kind: string): StillError {
  return new StillError('EOPNOTSUPP', `it is ${kind}, which stillfs does not read`);
}

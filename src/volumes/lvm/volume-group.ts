import { StillError } from '../../errors.js';
import { type ConfigSection, type ConfigWord, parseConfig } from './config-text.js';

// lvm(8): "valid names"
const validName = /^(?!\.{1,2}$|-)[A-Za-z0-9+_.-]{1,127}$/;
export const sectorBytes = 512;

/** A volume group, as the text of one of its metadata areas has it. Extents are counted, sizes are bytes. */
export interface VolumeGroup {
  readonly name: string;
  /** Without hyphens. */
  readonly uuid: string;
  /** Goes up with each change. */
  readonly sequence: number;
  readonly extentBytes: number;
  /** By the names that the text has for them. */
  readonly physicalVolumes: ReadonlyMap<string, GroupMember>;
  readonly logicalVolumes: ReadonlyMap<string, LogicalVolume>;
}

/** A physical volume, as its group knows it. */
export interface GroupMember {
  /** Without hyphens. */
  readonly uuid: string;
  /** Where its first extent begins, bytes. */
  readonly start: number;
  readonly extents: number;
  /** It was not there when the group was changed: what it holds is out of date. */
  readonly isMissing: boolean;
}

export interface LogicalVolume {
  readonly name: string;
  /** Whether it is one that people see, not a part of another one. */
  readonly isVisible: boolean;
  readonly status: ReadonlySet<string>;
  /** Ascending, without gaps. */
  readonly segments: readonly LogicalSegment[];
  /** Of all segments. */
  readonly extents: number;
}

export interface LogicalSegment {
  readonly start: number;
  readonly extents: number;
  /** As lvs(8) shows it; linear ones are "striped" over one. */
  readonly type: string;
  /** What else the text has about it: each type has its own words. */
  readonly section: ConfigSection;
}

/** A place in a physical or logical volume, by its name in the text. */
export interface ExtentPlace {
  readonly volume: string;
  readonly extent: number;
}

/** Reads the text of a metadata area. EIO: it is damaged. */
export function parseVolumeGroup(text: string): VolumeGroup {
  const root = parseConfig(text);
  const [name, ...others] = root.sections.keys();
  if (name === undefined || others.length > 0)
    throw new StillError('EIO', `LVM metadata: ${others.length === 0 ? 'no' : 'more than one'} volume group`);
  mustBeName(name);
  const group = root.section(name);
  const extentBytes = group.count('extent_size') * sectorBytes;
  if (extentBytes === 0) throw new StillError('EIO', `LVM metadata: the extents of ${name} are empty`);
  const physicalVolumes = new Map<string, GroupMember>();
  for (const [key, section] of sectionsOf(group, 'physical_volumes'))
    physicalVolumes.set(key, memberOf(section));
  const logicalVolumes = new Map<string, LogicalVolume>();
  for (const [key, section] of sectionsOf(group, 'logical_volumes')) {
    mustBeName(key);
    logicalVolumes.set(key, logicalVolumeOf(key, section, extentBytes));
  }
  showSnapshots(logicalVolumes);
  return {
    name,
    uuid: withoutHyphens(group.text('id')),
    sequence: group.count('seqno'),
    extentBytes,
    physicalVolumes,
    logicalVolumes,
  };
}

/** The store of a snapshot has the name that people know; the volume that joins it to its origin stands for it in the text. */
function showSnapshots(volumes: Map<string, LogicalVolume>): void {
  for (const join of [...volumes.values()]) {
    const [segment] = join.segments;
    if (segment?.type !== 'snapshot') continue;
    volumes.set(join.name, { ...join, isVisible: false });
    const [name] = segment.section.list('cow_store');
    const store = typeof name === 'string' ? volumes.get(name) : undefined;
    if (store) volumes.set(store.name, { ...store, isVisible: true });
  }
}

/** A list of names and extents, by turns. */
export function extentPlaces(segment: LogicalSegment, key: string): ExtentPlace[] {
  const words = segment.section.list(key);
  if (words.length === 0 || words.length % 2 !== 0) throw malformed(segment, key);
  return Array.from({ length: words.length / 2 }, (_, index) => {
    const volume: ConfigWord | undefined = words[index * 2];
    const extent: ConfigWord | undefined = words[index * 2 + 1];
    if (typeof volume !== 'string' || typeof extent !== 'number' || !(extent >= 0))
      throw malformed(segment, key);
    return { volume, extent };
  });
}

/** A list of names. */
export function volumeNames(segment: LogicalSegment, key: string): string[] {
  const words = segment.section.list(key);
  const names = words.filter((word) => typeof word === 'string');
  if (names.length === 0 || names.length < words.length) throw malformed(segment, key);
  return names;
}

function memberOf(section: ConfigSection): GroupMember {
  return {
    uuid: withoutHyphens(section.text('id')),
    start: section.count('pe_start') * sectorBytes,
    extents: section.count('pe_count'),
    isMissing: section.list('flags').includes('MISSING'),
  };
}

function logicalVolumeOf(name: string, section: ConfigSection, extentBytes: number): LogicalVolume {
  const segments = [...section.sections.values()]
    .map((segment) => ({
      start: segment.count('start_extent'),
      extents: segment.count('extent_count'),
      type: segment.text('type'),
      section: segment,
    }))
    .sort((one, other) => one.start - other.start);
  let extents = 0;
  for (const segment of segments) {
    if (segment.start !== extents || segment.extents === 0)
      throw new StillError('EIO', `LVM metadata: the segments of ${name} don't follow one another`);
    extents += segment.extents;
  }
  if (!Number.isSafeInteger(extents * extentBytes))
    throw new StillError('EIO', `LVM metadata: ${name} has ${extents} extents`);
  const status = new Set(section.list('status').filter((word) => typeof word === 'string'));
  return { name, isVisible: status.has('VISIBLE'), status, segments, extents };
}

/** The sections in a section that may be missing. */
function sectionsOf(group: ConfigSection, name: string): Iterable<readonly [string, ConfigSection]> {
  return group.sections.get(name)?.sections ?? [];
}

function mustBeName(name: string): void {
  if (!validName.test(name))
    throw new StillError(
      'EIO',
      `LVM metadata: ${JSON.stringify(name.slice(0, 200))} can't be a volume's name`,
    );
}

function withoutHyphens(uuid: string): string {
  return uuid.replaceAll('-', '');
}

function malformed(segment: LogicalSegment, key: string): StillError {
  return new StillError('EIO', `LVM metadata: ${segment.section.path}/${key} is no list of volumes`);
}

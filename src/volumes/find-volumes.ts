import type { Disk } from '../disks/disk.js';
import { Slice } from '../disks/slice.js';
import { messageOf, StillError } from '../errors.js';
import { type Name, nameFromText, nameToText } from '../name.js';
import { LogicalDisks } from './lvm/logical-disks.js';
import { type Device, type FoundGroup, findVolumeGroups } from './lvm/volume-groups.js';
import type { Partition } from './partition.js';
import { readPartitionTable } from './partition-table.js';
import { isRaidMember } from './signature.js';
import type { FindVolumesOptions, GuestDisk, Volume } from './volume.js';

const [part, raw, lvm] = ['part', 'raw', 'lvm'].map(nameFromText) as [Name, Name, Name];
/** As much of a group's UUID as tells it from others of its name. */
const toldApartBy = 8;

/**
 * The volumes of a guest: the partitions of its disks, the disks that have none, the logical volumes upon them all. The
 * disks stay the caller's: they must be open as long as the volumes are in use.
 */
export async function findVolumes(
  disks: readonly GuestDisk[],
  options: FindVolumesOptions,
): Promise<readonly Volume[]> {
  const volumes: Volume[] = [];
  for (const disk of disks) volumes.push(...(await volumesOfDisk(disk, options)));
  const devices: Device[] = [];
  for (const { path, disk } of volumes) {
    if (disk && !(await isPartOfRaid(disk, options.signal))) devices.push({ path: shown(path), disk });
  }
  const groups = await findVolumeGroups(devices, options);
  const names = new Set<string>();
  for (const found of groups) {
    const { name, uuid } = found.group;
    const shownName = names.has(name) ? `${name}-${uuid.slice(0, toldApartBy)}` : name;
    if (shownName !== name)
      options.problem(
        `There are several LVM volume groups called ${name}; one of them is shown as lvm/${shownName}.`,
      );
    names.add(shownName);
    volumes.push(...(await logicalVolumes(found, shownName, options)));
  }
  return volumes;
}

async function volumesOfDisk(guestDisk: GuestDisk, options: FindVolumesOptions): Promise<Volume[]> {
  const { name, disk } = guestDisk;
  const { signal } = options;
  const text = nameToText(name);
  try {
    const problem = (sentence: string): void =>
      options.problem(`The partition table of ${text}: ${sentence}.`);
    const partitions = await readPartitionTable(disk, { signal, problem });
    if (partitions) return partitions.map((partition) => volumeOf(guestDisk, partition, options));
    return [{ path: [name, raw], disk: new Slice(disk, 0, disk.size, `${text}/raw`) }];
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof StillError)) throw error;
    options.problem(`What is on ${text} can't be told: ${messageOf(error)}.`);
    return [{ path: [name, raw], disk: undefined }];
  }
}

function volumeOf({ name, disk }: GuestDisk, partition: Partition, { problem }: FindVolumesOptions): Volume {
  const { number, offset, size, uuid, label } = partition;
  const path = [name, part, nameFromText(`${number}`)];
  const there = Math.min(size, disk.size - offset);
  if (there <= 0) {
    problem(`${shown(path)} can't be read: it begins at ${offset}, and the disk ends at ${disk.size}.`);
  } else if (there < size) {
    problem(`${shown(path)} is cut short: ${there} of its ${size} bytes are on the disk.`);
  }
  return {
    path,
    disk: there > 0 ? new Slice(disk, offset, there, shown(path)) : undefined,
    partition: { disk: name, number },
    ...(uuid !== undefined && { partitionUuid: uuid }),
    ...(label !== undefined && { partitionLabel: label }),
  };
}

async function logicalVolumes(
  { group, members }: FoundGroup,
  shownName: string,
  { signal, problem }: FindVolumesOptions,
): Promise<Volume[]> {
  const disks = new LogicalDisks(group, members, problem);
  const volumes: Volume[] = [];
  for (const { name, isVisible } of group.logicalVolumes.values()) {
    if (!isVisible) continue;
    const path = [lvm, nameFromText(shownName), nameFromText(name)];
    const logical = { group: shownName, volume: name };
    try {
      volumes.push({ path, disk: await disks.open(name, signal), logical });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      problem(`${shown(path)} can't be read: ${messageOf(error)}.`);
      volumes.push({ path, disk: undefined, logical });
    }
  }
  return volumes;
}

/** LVM takes nothing for a physical volume that is a part of a software RAID: the RAID is one. */
async function isPartOfRaid(disk: Disk, signal: AbortSignal): Promise<boolean> {
  try {
    return await isRaidMember(disk, signal);
  } catch (error) {
    signal.throwIfAborted();
    // What can't be read there is told by whoever needs it.
    if (error instanceof StillError) return false;
    throw error;
  }
}

function shown(path: readonly Name[]): string {
  return path.map(nameToText).join('/');
}

import type { Disk } from '../../disks/disk.js';
import { messageOf, StillError } from '../../errors.js';
import { readMetadataText } from './metadata-area.js';
import { readLabel } from './physical-volume.js';
import { parseVolumeGroup, type VolumeGroup } from './volume-group.js';

/** A partition or a whole disk that may be a physical volume. */
export interface Device {
  /** As sentences call it: `vda/part/2`. */
  readonly path: string;
  readonly disk: Disk;
}

/** A group with what there is of it. */
export interface FoundGroup {
  readonly group: VolumeGroup;
  /** The disks of its physical volumes, by their names in the group; those that are not there are left out. */
  readonly members: ReadonlyMap<string, Disk>;
}

export interface FindGroupsOptions {
  readonly signal: AbortSignal;
  readonly problem: (sentence: string) => void;
}

/** Finds the volume groups of some devices, in the devices' order: each as its newest metadata has it. */
export async function findVolumeGroups(
  devices: readonly Device[],
  { signal, problem }: FindGroupsOptions,
): Promise<readonly FoundGroup[]> {
  const deviceOf = new Map<string, Device>();
  const newest = new Map<string, VolumeGroup>();
  for (const device of devices) {
    try {
      const label = await readLabel(device.disk, signal);
      if (!label) continue;
      const same = deviceOf.get(label.uuid);
      if (same) {
        problem(
          `${device.path} and ${same.path} are the same LVM physical volume; the second is left out. One may be a copy of the other.`,
        );
        continue;
      }
      deviceOf.set(label.uuid, device);
      const group = await newestGroup(device, label.metadataAreas, { signal, problem });
      if (group && group.sequence > (newest.get(group.uuid)?.sequence ?? -1)) newest.set(group.uuid, group);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      problem(`${device.path} is damaged: ${messageOf(error)}.`);
    }
  }
  return [...newest.values()].map((group) => {
    const members = new Map<string, Disk>();
    const missing: string[] = [];
    for (const [name, { uuid, isMissing }] of group.physicalVolumes) {
      const device = deviceOf.get(uuid);
      if (device && !isMissing) members.set(name, device.disk);
      else missing.push(name);
    }
    if (missing.length > 0)
      problem(
        `The LVM volume group ${group.name} is not whole: ${missing.length} of its ${group.physicalVolumes.size} physical volumes can't be found on the guest's disks.`,
      );
    return { group, members };
  });
}

/** The newest text of a physical volume's metadata areas. Undefined: it is in no group, or leaves the metadata to others. */
async function newestGroup(
  { path, disk }: Device,
  areas: Iterable<{ readonly offset: number; readonly size: number }>,
  { signal, problem }: FindGroupsOptions,
): Promise<VolumeGroup | undefined> {
  let newest: VolumeGroup | undefined;
  for (const area of areas) {
    try {
      const text = await readMetadataText(disk, area, signal);
      const group = text === undefined ? undefined : parseVolumeGroup(text);
      if (group && group.sequence > (newest?.sequence ?? -1)) newest = group;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      problem(`${path}: ${messageOf(error)}.`);
    }
  }
  return newest;
}

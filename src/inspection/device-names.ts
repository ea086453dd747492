import { type Name, nameToText } from '../name.js';
import type { FoundVolume } from './found-volume.js';

/**
 * The volumes that a guest's name for a device stands for: `UUID=…`, `LABEL=…`, `PARTUUID=…`, `PARTLABEL=…`, the same under
 * `/dev/disk/by-…/`, `/dev/<group>/<volume>`, `/dev/mapper/…`, `/dev/sda1` and its like. More than one: the guest itself could not tell.
 * Undefined: the name is of a kind that tells nothing here.
 *
 * `disks`: the guest's disks in their order, by which `sda`, `sdb`… are told where no disk is called so.
 */
export function volumesNamed(
  source: string,
  volumes: readonly FoundVolume[],
  disks: readonly Name[],
): readonly FoundVolume[] | undefined {
  const tag = tagOf(source);
  if (tag) return volumes.filter((volume) => hasTag(volume, tag.name, tag.value));
  const device = /^\/dev\/(.+)$/.exec(source)?.[1];
  if (device === undefined) return undefined;
  const logical = logicalOf(device, volumes);
  if (logical) return logical;
  const partition = partitionOf(device);
  if (!partition) return undefined;
  const disk = diskCalled(partition.disk, disks);
  return volumes.filter(({ path, partition: own }) =>
    partition.number === undefined
      ? path.length === 2 && path[0] === disk && path[1] === 'raw'
      : own !== undefined && own.disk === disk && own.number === partition.number,
  );
}

type TagName = 'UUID' | 'LABEL' | 'PARTUUID' | 'PARTLABEL';
const tagNames: readonly TagName[] = ['UUID', 'LABEL', 'PARTUUID', 'PARTLABEL'];

function tagOf(source: string): { readonly name: TagName; readonly value: string } | undefined {
  const link = /^\/dev\/disk\/by-(uuid|label|partuuid|partlabel)\/(.+)$/.exec(source);
  if (link?.[1] && link[2] !== undefined) {
    const name = tagNames.find((tag) => tag.toLowerCase() === link[1]);
    return name && { name, value: unhexed(link[2]) };
  }
  const equals = source.indexOf('=');
  const name = tagNames.find((tag) => tag === source.slice(0, equals));
  return name && { name, value: source.slice(equals + 1).replace(/^"(.*)"$/, '$1') };
}

/** udev(7) writes what a link's name can't hold as `\x20`. */
function unhexed(text: string): string {
  return text.replace(/\\x([0-9a-fA-F]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

function hasTag(volume: FoundVolume, name: TagName, value: string): boolean {
  const facts = volume.content.kind === 'file system' ? volume.content.facts : undefined;
  // What a table in a guest holds is bytes; labels are text.
  const text = Buffer.from(value, 'latin1').toString('utf8');
  switch (name) {
    case 'UUID':
      return facts?.uuid?.toLowerCase() === text.toLowerCase();
    case 'LABEL':
      return facts?.label !== undefined && facts.label === text;
    case 'PARTUUID':
      return volume.partitionUuid?.toLowerCase() === text.toLowerCase();
    case 'PARTLABEL':
      return volume.partitionLabel !== undefined && volume.partitionLabel === text;
  }
}

function logicalOf(device: string, volumes: readonly FoundVolume[]): readonly FoundVolume[] | undefined {
  const mapped = device.startsWith('mapper/') ? device.slice('mapper/'.length) : undefined;
  const found = volumes.filter(({ logical }) => {
    if (!logical) return false;
    const { group, volume } = logical;
    // dm names double the dashes within a name, so that the one between the two can be told.
    if (mapped !== undefined) return mapped === `${doubled(group)}-${doubled(volume)}`;
    return device === `${group}/${volume}`;
  });
  return found.length > 0 || mapped !== undefined ? found : undefined;
}

function doubled(name: string): string {
  return name.replaceAll('-', '--');
}

/** `sda1`, `vdb`, `xvda2`, `nvme0n1p3`, `mmcblk0p1`. */
function partitionOf(
  device: string,
): { readonly disk: string; readonly number: number | undefined } | undefined {
  const match = /^((?:sd|hd|vd|xvd)[a-z]{1,2})(\d{1,3})?$|^((?:nvme\d+n\d+|mmcblk\d+))(?:p(\d{1,3}))?$/.exec(
    device,
  );
  const disk = match?.[1] ?? match?.[3];
  if (disk === undefined) return undefined;
  const digits = match?.[2] ?? match?.[4];
  return { disk, number: digits === undefined ? undefined : Number(digits) };
}

/** The buses that a kernel's names of disks stand for, by what hypervisors call disks on them. */
const buses: ReadonlyArray<{ readonly device: RegExp; readonly names: RegExp }> = [
  { device: /^vd/, names: /virtio|^vd/ },
  { device: /^xvd/, names: /^xvd|xen/ },
  { device: /^hd/, names: /ide|^hd/ },
  { device: /^sd/, names: /scsi|sata|ahci|ide|usb|^sd/ },
  { device: /^nvme/, names: /nvme/ },
  { device: /^mmcblk/, names: /mmc|sd-?card/ },
];

/** The disk that a guest's kernel calls so: the one of that name, else the one in that place among those on its bus, or among all. */
function diskCalled(device: string, disks: readonly Name[]): Name | undefined {
  const own = disks.find((disk) => nameToText(disk) === device);
  if (own !== undefined) return own;
  const names = buses.find((bus) => bus.device.test(device))?.names;
  const onBus = names ? disks.filter((disk) => names.test(nameToText(disk))) : [];
  return (onBus.length > 0 ? onBus : disks)[placeOf(device)];
}

/** Which disk of its bus a device's name stands for, from 0: `sda` is 0, `sdaa` is 26, `nvme1n1` is 1. */
function placeOf(device: string): number {
  const numbered = /^(?:nvme|mmcblk)(\d+)/.exec(device)?.[1];
  if (numbered !== undefined) return Number(numbered);
  const letters = device.replace(/^(xvd|sd|hd|vd)/, '');
  let place = 0;
  for (const letter of letters) place = place * 26 + letter.charCodeAt(0) - 'a'.charCodeAt(0) + 1;
  return place - 1;
}

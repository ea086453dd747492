import { describe, expect, it } from 'vitest';
import { volumesNamed } from '../../../src/inspection/device-names.js';
import { type FoundVolume, volumeText } from '../../../src/inspection/found-volume.js';
import type { Name } from '../../../src/name.js';

const names = (path: string): Name[] => path.split('/') as Name[];

function partition(disk: string, number: number, more: Partial<FoundVolume> = {}): FoundVolume {
  return {
    path: names(`${disk}/part/${number}`),
    size: 1,
    content: { kind: 'unknown' },
    partition: { disk: disk as Name, number },
    ...more,
  };
}

function holding(uuid: string, label: string): Pick<FoundVolume, 'content'> {
  return { content: { kind: 'file system', facts: { kind: 'ext4', uuid, label } } };
}

const disks = names('drive-scsi0/drive-scsi1/drive-virtio0');
const volumes: readonly FoundVolume[] = [
  partition('drive-scsi0', 1, { partitionUuid: 'AB12-01', partitionLabel: 'EFI System' }),
  partition('drive-scsi0', 2, holding('c0ffee00-0000-4000-8000-000000000001', 'root disk')),
  partition('drive-scsi1', 1, holding('c0ffee00-0000-4000-8000-000000000002', 'twin')),
  partition('drive-virtio0', 1, holding('c0ffee00-0000-4000-8000-000000000003', 'twin')),
  {
    path: names('lvm/my-group/a-b'),
    size: 1,
    content: { kind: 'unknown' },
    logical: { group: 'my-group', volume: 'a-b' },
  },
  { path: names('drive-scsi1/raw'), size: 1, content: { kind: 'unknown' } },
];

const found = (source: string): string[] | undefined => volumesNamed(source, volumes, disks)?.map(volumeText);

describe("a guest's name for a device", () => {
  it.each([
    ['UUID=C0FFEE00-0000-4000-8000-000000000001', 'drive-scsi0/part/2'],
    ['UUID="c0ffee00-0000-4000-8000-000000000001"', 'drive-scsi0/part/2'],
    ['LABEL=root disk', 'drive-scsi0/part/2'],
    ['PARTUUID=ab12-01', 'drive-scsi0/part/1'],
    ['PARTLABEL=EFI System', 'drive-scsi0/part/1'],
    ['/dev/disk/by-uuid/c0ffee00-0000-4000-8000-000000000001', 'drive-scsi0/part/2'],
    ['/dev/disk/by-label/root\\x20disk', 'drive-scsi0/part/2'],
    ['/dev/my-group/a-b', 'lvm/my-group/a-b'],
    ['/dev/mapper/my--group-a--b', 'lvm/my-group/a-b'],
    ['/dev/sda1', 'drive-scsi0/part/1'],
    ['/dev/sdb1', 'drive-scsi1/part/1'],
    ['/dev/sdb', 'drive-scsi1/raw'],
    ['/dev/vda1', 'drive-virtio0/part/1'],
  ])('%s is %s', (source, volume) => {
    expect(found(source)).toEqual([volume]);
  });

  it('tells of all that it could stand for', () => {
    expect(found('LABEL=twin')).toEqual(['drive-scsi1/part/1', 'drive-virtio0/part/1']);
  });

  it('may stand for nothing that is there', () => {
    expect(found('UUID=dead-beef')).toEqual([]);
    expect(found('/dev/sdc1')).toEqual([]);
    expect(found('/dev/mapper/other-lv')).toEqual([]);
  });

  it('may be of a kind that tells nothing from outside', () => {
    expect(found('/dev/disk/by-path/pci-0000:00:05.0-part1')).toBeUndefined();
    expect(found('server:/export')).toBeUndefined();
  });

  it('is a disk that is called so, wherever it stands', () => {
    const swapped = names('vdb/vda');
    const own = [partition('vdb', 1), partition('vda', 1)];
    expect(volumesNamed('/dev/vda1', own, swapped)?.map(volumeText)).toEqual(['vda/part/1']);
  });
});

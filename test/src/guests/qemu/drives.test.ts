import { expect, test } from 'vitest';
import { drivesOf } from '../../../../src/guests/qemu/drives.js';
import type { BlockDevice } from '../../../../src/guests/qemu/qmp/commands/block-devices.js';

type Inserted = NonNullable<BlockDevice['inserted']>;

function device(
  facts: Partial<Omit<BlockDevice, 'inserted'>> & { inserted?: Partial<Inserted> },
): BlockDevice {
  const inserted: Inserted = {
    name: '#block123',
    driver: 'qcow2',
    readOnly: false,
    file: '/images/a.qcow2',
    sizeBytes: 1024,
    clusterBytes: 65_536,
    bitmaps: [],
    ...facts.inserted,
  };
  return { name: '', qomPath: '/machine/peripheral/a/virtio-backend', removable: false, ...facts, inserted };
}

const names = (...devices: BlockDevice[]): string[] => drivesOf(devices).drives.map(({ name }) => name);

test('a disk is called as its drive is, else as its device, else as its node', () => {
  expect(names(device({ name: 'drive-scsi0' }))).toEqual(['drive-scsi0']);
  expect(names(device({}))).toEqual(['a']);
  expect(names(device({ qomPath: 'scsi1' }))).toEqual(['scsi1']);
  expect(names(device({ qomPath: '/machine/unattached/device[3]', inserted: { name: 'node7' } }))).toEqual([
    'node7',
  ]);
});

test('names become such as files may have, and stay different', () => {
  expect(names(device({ name: '../a b' }), device({ name: '.._a_b' }))).toEqual(['a_b', 'a_b-2']);
});

test('a device that QEMU names by its id is found in its object tree', () => {
  expect(drivesOf([device({ qomPath: 'scsi1' })]).drives[0]?.qomPath).toBe('/machine/peripheral/scsi1');
});

test('what is in no snapshot is told, with the reason', () => {
  const devices: BlockDevice[] = [
    { ...device({ name: 'cdrom' }), inserted: undefined },
    { ...device({ name: 'unused' }), qomPath: undefined },
    device({ name: 'iso', inserted: { readOnly: true } }),
    device({ name: 'sda' }),
    device({ name: 'sdb' }),
  ];
  const { drives, omitted } = drivesOf(devices, new Set(['sda', 'iso', 'unused', 'missing']));
  expect(drives.map(({ name }) => name)).toEqual(['sda']);
  expect(Object.fromEntries(omitted.map(({ name, reason }) => [name, reason]))).toEqual({
    unused: expect.stringMatching(/no device/),
    iso: expect.stringMatching(/read-only/),
    sdb: expect.stringMatching(/configured/),
    missing: expect.stringMatching(/no such disk/),
  });
});

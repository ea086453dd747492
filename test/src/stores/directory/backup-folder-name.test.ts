import { describe, expect, it } from 'vitest';
import { nameFromText } from '../../../../src/name.js';
import { backupReference } from '../../../../src/stores/directory/backup-folder-name.js';

const secondsOf = (name: string): number | undefined => backupReference(nameFromText(name))?.time.seconds;

describe("the name of a backup's folder", () => {
  it.each([
    ['qemu-1731491839', 1_731_491_839],
    ['lxc-0', 0],
    ['20241113T095719Z', 1_731_491_839],
    ['2024-11-13T09:57:19Z', 1_731_491_839],
    ['20240229T000000Z', 1_709_164_800],
  ])('%s tells a time', (name, seconds) => {
    expect(secondsOf(name)).toBe(seconds);
  });

  it.each([
    'qemu-1731491839.failed',
    '.qemu-1731491839',
    'qemu-01731491839',
    'qemu-999999999999',
    'qemu--1',
    'kvm-1731491839',
    'previous-info',
    '20240230T000000Z',
    '20241113T250000Z',
    '2024-11-13T09:57:19',
    '2024-11-13T095719Z',
    '19691231T235959Z',
    '20241113T095719Z\n',
    '',
  ])('%j is no backup', (name) => {
    expect(secondsOf(name)).toBeUndefined();
  });

  it('tells the kind where it can', () => {
    expect(backupReference(nameFromText('lxc-1731491839'))?.kind).toBe('lxc');
    expect(backupReference(nameFromText('qemu-1731491839'))?.kind).toBe('qemu');
    expect(backupReference(nameFromText('20241113T095719Z'))?.kind).toBeUndefined();
  });
});

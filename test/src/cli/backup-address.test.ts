import { describe, expect, it } from 'vitest';
import { parseBackupAddress } from '../../../src/cli/backup-address.js';
import { ExitCode, exitCodeOf } from '../../../src/cli/exit-code.js';

const any = { least: 'store', most: 'time' } as const;

describe('the address of a backup', () => {
  it.each([
    ['nightly', { store: 'nightly' }],
    ['/var/backups', { store: '/var/backups' }],
    ['/var/backups/', { store: '/var/backups/' }],
    ['nightly:100', { store: 'nightly', guest: '100' }],
    ['nightly:100/latest', { store: 'nightly', guest: '100', time: 'latest' }],
    ['nightly:100/20241113T095719Z', { store: 'nightly', guest: '100', time: '20241113T095719Z' }],
    [
      '/var/backups:web.1/qemu-1731491839',
      { store: '/var/backups', guest: 'web.1', time: 'qemu-1731491839' },
    ],
    ['nas=/net/nas:100', { store: 'nas=/net/nas', guest: '100' }],
  ])('is taken apart: %s', (text, address) => {
    expect(parseBackupAddress(text, any)).toEqual(address);
  });

  it.each([
    ['s:100/2024-11-13T09:57:19Z', { store: 's', guest: '100', time: '2024-11-13T09:57:19Z' }],
    ['/mnt/a:b/store:100', { store: '/mnt/a:b/store', guest: '100' }],
    ['/mnt/a:b:100/latest', { store: '/mnt/a:b', guest: '100', time: 'latest' }],
    ['/mnt/a:b/', { store: '/mnt/a:b/' }],
  ])('may hold more colons, in a path and in a time: %s', (text, address) => {
    expect(parseBackupAddress(text, any)).toEqual(address);
  });

  it.each([
    '',
    ':100',
    'nightly:',
    'nightly:100/yesterday',
    'nightly:..',
    'nightly:.lock',
    '/a:b/c',
  ])('is refused rather than guessed: "%s"', (text) => {
    expect(() => parseBackupAddress(text, any)).toThrow(/expected STORE or STORE:GUEST/);
  });

  it('must tell as much as the command needs, and no more', () => {
    const refusal = (text: string, least: 'store' | 'time', most: 'guest' | 'time'): unknown => {
      try {
        return parseBackupAddress(text, { least, most });
      } catch (error) {
        return [exitCodeOf(error), error instanceof Error ? error.message : error];
      }
    };
    expect(refusal('nightly:100', 'time', 'time')).toEqual([
      ExitCode.usage,
      expect.stringContaining('"nightly:100": expected STORE:GUEST/TIME; TIME is'),
    ]);
    expect(refusal('nightly:100/latest', 'store', 'guest')).toEqual([
      ExitCode.usage,
      expect.stringContaining('expected STORE or STORE:GUEST;'),
    ]);
  });
});

import { describe, expect, it } from 'vitest';
import { mountHelperArguments } from '../../../src/cli/mount-helper.js';

const commands = ['mount', 'umount', 'list', 'help'];
const helper = (...args: string[]): string[] | undefined => mountHelperArguments(args, commands);

describe('a call by mount(8)', () => {
  it('is a mount in the background of the store that is its source', () => {
    expect(helper('nas=/net/nas', '/mnt', '-o', 'rw,allow_other')).toEqual(
      'mount --background --source nas=/net/nas --store nas=/net/nas -o rw,allow_other -- /mnt'.split(' '),
    );
  });

  it.each(['none', 'stillfs'])('with the source %s takes the stores of the configuration', (source) => {
    expect(helper(source, '/mnt', '-o', 'rw')).toEqual(
      `mount --background --source ${source} -o rw -- /mnt`.split(' '),
    );
  });

  it('without a source takes the stores of the configuration', () => {
    expect(helper('/mnt', '-o', 'rw')).toEqual('mount --background -o rw -- /mnt'.split(' '));
  });

  it('may hold options of mount(8) itself, which mean nothing here', () => {
    expect(helper('/a', '/mnt', '-s', '-n', '-v', '-o', 'ro', '-t', 'fuse.stillfs')).toEqual(
      'mount --background --source /a --store /a -o ro -- /mnt'.split(' '),
    );
  });

  it('takes no mountpoint for an option', () => {
    expect(helper('/a', '/mnt', '-o', 'ro')?.slice(-2)).toEqual(['--', '/mnt']);
  });

  it.each([
    ['/a /mnt -o'],
    ['/a /mnt -o ro /more'],
    ['/a /mnt -f -o ro'],
    ['/a /mnt -o ro --store'],
    ['/a /mnt -N 7 -o ro'],
  ])('of no known form is refused, with the form: stillfs %s', (line) => {
    expect(() => helper(...line.split(' '))).toThrow('expected: stillfs [SOURCE] MOUNTPOINT -o OPTIONS');
  });
});

describe('an ordinary command line', () => {
  it.each([
    'mount -o ro /mnt',
    'umount /mnt',
    'list',
    'list -o x',
    'help',
    '--version',
    '',
    'mout /a',
    'mout --x',
  ])('is left as it is: stillfs %s', (line) => {
    expect(helper(...line.split(' ').filter((word) => word !== ''))).toBeUndefined();
  });
});

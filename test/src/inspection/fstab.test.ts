import { describe, expect, it } from 'vitest';
import { parseFstab } from '../../../src/inspection/fstab.js';

const parsed = (text: string): ReturnType<typeof parseFstab> => parseFstab(Buffer.from(text, 'latin1'));

describe('/etc/fstab', () => {
  it('tells what is mounted where, and how', () => {
    const text = [
      '# <file system> <mount point> <type> <options> <dump> <pass>',
      'UUID=0a1b / ext4 errors=remount-ro 0 1',
      '/dev/vg0/home\t/home\txfs\tnoatime,noauto\t0 2',
    ].join('\n');
    expect(parsed(text)).toEqual([
      { source: 'UUID=0a1b', path: [], type: 'ext4', options: new Set(['errors=remount-ro']) },
      { source: '/dev/vg0/home', path: ['home'], type: 'xfs', options: new Set(['noatime', 'noauto']) },
    ]);
  });

  it('has spaces in octal, in sources and in places', () => {
    expect(parsed('LABEL=my\\040disk /srv/a\\040b ext4')).toMatchObject([
      { source: 'LABEL=my disk', path: ['srv', 'a b'] },
    ]);
  });

  it('is passed over where nothing is mounted in a place, or the place is none', () => {
    const text = [
      'UUID=1 none swap sw 0 0',
      'UUID=2 swap swap defaults',
      'UUID=3 relative ext4',
      'UUID=4 /a/../../etc ext4',
      'cut short',
      '',
      `UUID=5 /${'x'.repeat(256)} ext4`,
    ].join('\n');
    expect(parsed(text)).toEqual([]);
  });

  it('keeps names that are no UTF-8 as the bytes they are', () => {
    expect(parsed('UUID=1 /\xff\xfe ext4')[0]?.path).toEqual(['\xff\xfe']);
  });
});

import { describe, expect, it } from 'vitest';
import { isFuse, isStillfs, mountAt, mountTable, parseMountTable } from '../../../src/cli/mount-table.js';

const line = (mountpoint: string, rest = '- fuse.stillfs /var/backups ro', id = 36): string =>
  `${id} 35 0:98 / ${mountpoint} ro,nosuid ${rest}`;

describe('the mount table', () => {
  it('tells id, device, place, type and source of each mount', () => {
    expect(parseMountTable(`${line('/mnt')}\n`)).toEqual([
      { id: 36, device: '0:98', mountpoint: '/mnt', type: 'fuse.stillfs', source: '/var/backups' },
    ]);
  });

  it('may have any number of optional fields', () => {
    for (const fields of ['', 'shared:1 ', 'shared:1 master:2 propagate_from:3 ']) {
      expect(parseMountTable(line('/mnt', `${fields}- ext4 /dev/sda1 rw`))).toMatchObject([
        { mountpoint: '/mnt', type: 'ext4', source: '/dev/sda1' },
      ]);
    }
  });

  it('writes space, tab, newline and backslash in octal', () => {
    const [mount] = parseMountTable(line('/a\\040b\\011c\\012d\\134040e', '- fuse.stillfs my\\040source ro'));
    expect(mount?.mountpoint).toBe('/a b\tc\nd\\040e');
    expect(mount?.source).toBe('my source');
  });

  it('holds names in UTF-8', () => {
    const text = Buffer.from(line('/größe\\040日')).toString('latin1');
    expect(parseMountTable(text)[0]?.mountpoint).toBe('/größe 日');
  });

  it('may hold a source that is empty, or a dash', () => {
    expect(parseMountTable(line('/mnt', '- tmpfs  rw'))).toMatchObject([{ type: 'tmpfs', source: '' }]);
    expect(parseMountTable(line('/mnt', '- tmpfs - rw'))).toMatchObject([{ type: 'tmpfs', source: '-' }]);
    expect(parseMountTable(line('/-', '- tmpfs none rw'))).toMatchObject([{ mountpoint: '/-' }]);
  });

  it('leaves out a line of another form', () => {
    expect(parseMountTable(`\nnonsense\n36 35 0:98 / /mnt ro\n${line('/mnt')}\n`)).toHaveLength(1);
  });

  it('of this process holds its root and /proc', async () => {
    const table = await mountTable();
    expect(mountAt(table, '/')).toBeDefined();
    expect(mountAt(table, '/proc')?.type).toBe('proc');
    expect(mountAt(table, '/proc/none')).toBeUndefined();
  });

  it('shows at a place the mount that was made last', () => {
    const table = parseMountTable(
      [line('/mnt', '- ext4 /dev/a rw', 1), line('/mnt', '- fuse.x y rw', 2)].join('\n'),
    );
    expect(mountAt(table, '/mnt')?.id).toBe(2);
  });

  it('tells mounts of stillfs from other FUSE mounts, and those from all others', () => {
    const [ours, other, plain, disk] = parseMountTable(
      ['fuse.stillfs', 'fuse.sshfs', 'fuse', 'fuseblk']
        .map((type) => line('/mnt', `- ${type} x rw`))
        .join('\n'),
    );
    const mounts = [ours, other, plain, disk].map((mount) => mount && [isStillfs(mount), isFuse(mount)]);
    expect(mounts).toEqual([
      [true, true],
      [false, true],
      [false, true],
      [false, false],
    ]);
  });
});

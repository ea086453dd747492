import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readLxcConfig } from '../../../../src/guests/lxc/lxc-config.js';

describe("LXC's configuration of a container", () => {
  let folder: string;
  let config: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-lxc-config-'));
    config = join(folder, 'config');
  });
  afterAll(() => rm(folder, { recursive: true }));

  const read = async (text: string): ReturnType<typeof readLxcConfig> => {
    await writeFile(config, text);
    return readLxcConfig(config);
  };

  it.each([
    ['lxc.rootfs.path = /r', { type: 'dir', path: '/r' }],
    ['lxc.rootfs.path=btrfs:/r', { type: 'btrfs', path: '/r' }],
    ['lxc.rootfs.path = dir:/r', { type: 'dir', path: '/r' }],
    ['lxc.rootfs.path = "dir:/with space"', { type: 'dir', path: '/with space' }],
    ['lxc.rootfs.path = lvm:/dev/vg/r', { type: 'lvm', path: '/dev/vg/r' }],
    ['lxc.rootfs = /old', { type: 'dir', path: '/old' }],
    ['lxc.rootfs.path = /first\nlxc.rootfs.path = /last', { type: 'dir', path: '/last' }],
    ['lxc.rootfs.path = nas:/odd', { type: 'dir', path: 'nas:/odd' }],
    ['# lxc.rootfs.path = /no\n\nlxc.arch = amd64', undefined],
  ])('has a root file system: %j', async (text, rootfs) => {
    expect((await read(text)).rootfs).toEqual(rootfs);
  });

  it('maps ids of users and of groups', async () => {
    const { users, groups } = await read(
      'lxc.idmap = u 0 100000 1000\nlxc.idmap = g 0 200000 65536\nlxc.idmap = b 5000 5000 1\n',
    );
    expect(users).toEqual([
      { inside: 0, outside: 100_000, count: 1000 },
      { inside: 5000, outside: 5000, count: 1 },
    ]);
    expect(groups).toEqual([
      { inside: 0, outside: 200_000, count: 65_536 },
      { inside: 5000, outside: 5000, count: 1 },
    ]);
    expect(await read('lxc.id_map = u 0 1 2\nlxc.id_map =\n')).toMatchObject({
      users: undefined,
      groups: undefined,
    });
  });

  it('mounts what its entries and its fstab say, wherever they name the place from', async () => {
    const fstab = join(folder, 'fstab');
    await writeFile(fstab, '# a comment\n/host/a\\040b srv/a\\040b none bind,optional 0 0\n');
    const { mounts } = await read(
      `lxc.rootfs.path = btrfs:/r\nlxc.mount.fstab = ${fstab}\n` +
        'lxc.mount.entry = /host/c /r/srv//c/ none rbind,ro\nlxc.mount.entry = /host/d /elsewhere/d none bind 0 0\n' +
        'lxc.mount.entry = proc ./proc proc nodev,nosuid 0 0\n',
    );
    expect(mounts).toEqual([
      { source: '/host/a b', path: ['srv', 'a b'], type: 'none', options: ['bind', 'optional'] },
      { source: '/host/c', path: ['srv', 'c'], type: 'none', options: ['rbind', 'ro'] },
      { source: 'proc', path: ['proc'], type: 'proc', options: ['nodev', 'nosuid'] },
    ]);
    expect((await read('lxc.mount.entry = /a a none bind\nlxc.mount.entry =\n')).mounts).toEqual([]);
  });

  it('includes files, folders of them, and folders that need not be there', async () => {
    await mkdir(join(folder, 'd'));
    await writeFile(join(folder, 'd', '1.conf'), 'lxc.idmap = u 0 1 2\n');
    await writeFile(join(folder, 'd', '2.conf'), 'lxc.rootfs.path = /included\n');
    await writeFile(join(folder, 'd', 'README'), 'what is this\n');
    const { rootfs, users } = await read(`lxc.include = ${folder}/d\nlxc.include = ${folder}/none.d/\n`);
    expect(rootfs).toEqual({ type: 'dir', path: '/included' });
    expect(users).toEqual([{ inside: 0, outside: 1, count: 2 }]);
  });

  it.each([
    ['lxc.arch = amd64\nwhat is this\n', ':2: expected KEY = VALUE, found "what is this"'],
    ['= 5\n', ':1: expected KEY = VALUE'],
    ['lxc.idmap = u 0 100000\n', ':1: lxc.idmap: expected u, g or b'],
    ['lxc.idmap = x 0 1 2\n', ':1: lxc.idmap: expected'],
    ['lxc.idmap = u 0 4294967295 65536\n', ':1: lxc.idmap: expected'],
    ['lxc.idmap = u 0 1 0\n', ':1: lxc.idmap: expected'],
    ['\nlxc.mount.entry = /a\n', ':2: lxc.mount.entry: expected SOURCE TARGET TYPE OPTIONS, found "/a"'],
    [
      'lxc.mount.entry = /a ../../etc none bind\n',
      ':1: lxc.mount.entry: ../../etc is no place in the container',
    ],
    ['lxc.mount.entry = /a / none bind\nlxc.rootfs.path = /r', undefined],
    ['lxc.mount.entry = /a . none bind\n', ':1: lxc.mount.entry: . is no place in the container'],
    ['lxc.mount.fstab = /nowhere/fstab\n', ":1: lxc.mount.fstab: /nowhere/fstab can't be read"],
    ['lxc.include = /nowhere/config\n', ":1: lxc.include: /nowhere/config can't be read"],
  ])('that is damaged (%j) is told by file, line and key', async (text, message) => {
    if (message === undefined) expect((await read(text)).mounts).toEqual([]);
    else
      await expect(read(text)).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringContaining(`${config}${message}`),
      });
  });

  it('that includes itself is refused', async () => {
    await expect(read(`lxc.include = ${config}\n`)).rejects.toThrow(/files include one another/);
  });
});

import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mountAt, mountTable } from '../../src/cli/mount-table.js';
import { command, isMounted, type Run, run, servers, stillfs } from './command-line.js';
import { MountedStore } from './mounted-store.js';

const backup = 'qemu-1700000000';
const time = '20231114T221320Z';
const nothing = { exitCode: 0, stdout: '', stderr: '' };

let place: MountedStore;
let disk: string;
beforeEach(async () => {
  place = await MountedStore.make();
  const folder = join(place.store, '100', backup);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'disk.raw'), 'the disk');
  disk = place.path('100', time, 'disks', 'disk.raw');
});
afterEach(() => place.remove());

describe('mount(8)', () => {
  const link = '/sbin/mount.fuse.stillfs';
  let program: string;
  beforeEach(async () => {
    program = join(place.folder, 'stillfs');
    await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${command}' "$@"\n`, { mode: 0o755 });
    // Fails, and nothing is removed, where an installed stillfs has made the link.
    await symlink(program, link);
    return () => rm(link);
  });

  const mount = (...args: string[]): Promise<Run> => run('mount', args);

  it.each<[what: string, args: () => string[]]>([
    ['by its type', () => ['-t', 'fuse.stillfs', `store=${place.store}`]],
    ['with words of its own', () => ['-n', '-v', '-s', '-t', 'fuse.stillfs', `store=${place.store}`]],
    ['through mount.fuse3(8)', () => ['-t', 'fuse', `${program}#store=${place.store}`]],
    ['with the stores as options', () => ['-t', 'fuse.stillfs', '-o', `store=store=${place.store}`, 'none']],
  ])('mounts %s and returns when the tree answers', async (_what, args) => {
    expect(await mount('-o', 'noatime,nofail,allow_other', ...args(), place.mountpoint)).toMatchObject({
      exitCode: 0,
      stderr: '',
    });
    expect(await readFile(disk, 'utf8')).toBe('the disk');
    expect(mountAt(await mountTable(), place.mountpoint)).toMatchObject({ type: 'fuse.stillfs' });
    expect(await stillfs('umount', place.mountpoint)).toEqual(nothing);
    expect(await servers(place.mountpoint)).toEqual([]);
  });

  it('takes a line of fstab, and umount(8) ends it', async () => {
    const fstab = join(place.folder, 'fstab');
    await writeFile(
      fstab,
      `store=${place.store} ${place.mountpoint} fuse.stillfs noauto,nofail,_netdev 0 0\n`,
    );
    expect(await mount('-T', fstab, place.mountpoint)).toEqual(nothing);
    expect(await readFile(disk, 'utf8')).toBe('the disk');
    expect(await run('umount', [place.mountpoint])).toEqual(nothing);
  });

  it('says why it could not, and fails', async () => {
    const unknown = await mount('-t', 'fuse.stillfs', '-o', 'bogus', place.store, place.mountpoint);
    expect(unknown.stderr).toContain('stillfs: -o bogus: unknown option');
    const missing = await mount('-t', 'fuse.stillfs', '/nonexistent', place.mountpoint);
    expect(missing.stderr).toContain('stillfs: the store "nonexistent" is not there');
    expect([unknown.exitCode, missing.exitCode]).toEqual([2, 2]);
    expect(await isMounted(place.mountpoint)).toBe(false);
  });
});

describe('an ordinary user', () => {
  /** nobody's: fusermount3 refuses a user whom /etc/passwd does not know. */
  const id = 65_534;
  const device = '/dev/fuse';
  let deviceMode: number;
  let copy: string;
  beforeAll(async () => {
    deviceMode = (await stat(device)).mode & 0o777;
    await chmod(device, 0o666);
    // The checkout may lie where only root can go.
    copy = await mkdtemp(join(tmpdir(), 'stillfs-copy-'));
    await chmod(copy, 0o755);
    const project = join(dirname(command), '../../..');
    const packages = await execa('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: project });
    const modules = packages.stdout.split('\n').slice(1);
    const parts = [
      'package.json',
      'dist/src',
      'dist/mount',
      ...modules.map((path) => relative(project, path)),
    ];
    await execa('cp', ['-r', '--parents', ...parts, copy], { cwd: project });
  });
  afterAll(async () => {
    await chmod(device, deviceMode);
    await rm(copy, { recursive: true });
  });
  beforeEach(async () => {
    await chown(place.folder, id, id);
    await chown(place.mountpoint, id, id);
  });

  const asUser = (...args: string[]): Promise<Run> =>
    run('setpriv', [`--reuid=${id}`, `--regid=${id}`, '--clear-groups', '--', ...args]);
  const stillfsAsUser = (...args: string[]): Promise<Run> =>
    asUser(process.execPath, join(copy, 'dist/src/cli/stillfs.cjs'), ...args);

  it('mounts through fusermount3, reads, and unmounts', async () => {
    const store = `store=${place.store}`;
    expect(await stillfsAsUser('mount', '--background', '--store', store, place.mountpoint)).toEqual(nothing);
    expect(await asUser('cat', disk)).toEqual({ ...nothing, stdout: 'the disk' });
    // It is theirs alone: not even root may look.
    await expect(readdir(place.mountpoint)).rejects.toMatchObject({ code: 'EACCES' });
    expect(await stillfsAsUser('umount', place.mountpoint)).toEqual(nothing);
    expect(await isMounted(place.mountpoint)).toBe(false);
    expect(await servers(place.mountpoint)).toEqual([]);
  });

  it("can't end the mount of somebody else", async () => {
    const store = ['--store', `store=${place.store}`];
    expect(await stillfs('mount', '--background', ...store, place.mountpoint)).toEqual(nothing);
    const refused = await stillfsAsUser('umount', place.mountpoint);
    expect(refused.exitCode).toBe(4);
    expect(refused.stderr).toContain(`${place.mountpoint} can't be unmounted`);
    expect(await stillfs('umount', place.mountpoint)).toEqual(nothing);
  });

  it('is told what is missing where others may not be let in', async () => {
    const refused = await stillfsAsUser(
      'mount',
      '--allow-other',
      '--background',
      '--store',
      place.store,
      place.mountpoint,
    );
    expect(refused.exitCode).toBe(4);
    expect(refused.stderr).toContain('user_allow_other');
  });

  it('sees in a listing which guests could not be read', async () => {
    await mkdir(join(place.store, '101'), { mode: 0o700 });
    const { exitCode, stdout } = await stillfsAsUser('list', '--json', '--store', place.store);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      stores: [
        {
          guests: [
            { name: '100', backups: [{ folder: backup }] },
            { name: '101', backups: [], problem: expect.stringContaining('EACCES') },
          ],
        },
      ],
    });
  });
});

import { mkdir, readdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { command, isMounted, mountInForeground, run, servers, stillfs } from './command-line.js';
import { MountedStore } from './mounted-store.js';

const backup = 'qemu-1700000000';
const time = '20231114T221320Z';

let place: MountedStore;
let option: [string, string];
let disk: string;
beforeEach(async () => {
  place = await MountedStore.make();
  option = ['--store', `store=${place.store}`];
  await mkdir(join(place.store, '100', backup), { recursive: true });
  await writeFile(join(place.store, '100', backup, 'disk.raw'), 'the disk');
  disk = place.path('100', time, 'disks', 'disk.raw');
});
afterEach(() => place.remove());

/** `F` for the test's own folder, so that what is expected can be written down. */
const shortened = (text: string): string => text.replaceAll(place.folder, 'F');

describe('stillfs mount', () => {
  it.each([
    'SIGINT',
    'SIGTERM',
    'SIGHUP',
  ] as const)('says one line once the tree answers, and %s ends it in good order', async (signal) => {
    const { child, end } = await mountInForeground(...option, place.mountpoint);
    expect(await readFile(disk, 'utf8')).toBe('the disk');
    child.kill(signal);
    expect(await end).toEqual({
      exitCode: 0,
      stdout: `mounted ${place.mountpoint}`,
      stderr: '',
    });
    expect(await isMounted(place.mountpoint)).toBe(false);
  });

  it('ends when somebody else unmounts', async () => {
    const { end } = await mountInForeground(...option, place.mountpoint);
    await execa('umount', [place.mountpoint]);
    expect((await end).exitCode).toBe(0);
  });

  it('takes all it needs from a configuration', async () => {
    const config = join(place.folder, 'config.yaml');
    await writeFile(config, 'stores: { nightly: { path: store } }\nmount: { mountpoint: mnt }\n');
    const { child, end } = await mountInForeground('--config', config);
    expect(await readdir(join(place.mountpoint, 'backups'))).toEqual(['nightly']);
    child.kill();
    expect((await end).stdout).toBe(`mounted ${place.mountpoint}`);
  });

  it('takes away what a killed daemon has left', async () => {
    const link = join(place.folder, 'link');
    await symlink('mnt', link);
    for (const mountpoint of [place.mountpoint, link]) {
      const first = await mountInForeground(...option, mountpoint);
      first.child.kill('SIGKILL');
      await first.end;
      await expect(readFile(disk)).rejects.toMatchObject({ code: 'ENOTCONN' });

      const second = await mountInForeground(...option, mountpoint);
      expect(await readFile(disk, 'utf8')).toBe('the disk');
      second.child.kill();
      expect((await second.end).stderr).toContain('took away a mount whose server was gone');
      expect(await isMounted(place.mountpoint)).toBe(false);
    }
  });

  it.each<[what: string, args: string[], said: string]>([
    [
      'a mountpoint in a store',
      ['F/store/100'],
      'F/store/100 lies in the store "store" (F/store): the mount would show itself; choose a folder elsewhere',
    ],
    [
      'a store in the mountpoint',
      ['F'],
      'the store "store" (F/store) lies in F: the mount would hide it; choose a folder elsewhere',
    ],
    [
      'a mountpoint that is not there',
      ['--background', 'F/none'],
      'there is no folder F/none to mount on; make one: mkdir -p F/none',
    ],
    [
      'a mountpoint that holds something',
      ['F/full'],
      'F/full is not empty, and the mount would hide what is in it; choose an empty folder',
    ],
    [
      'a store that is not there',
      ['--background', '--store', 'F/gone', 'F/mnt'],
      'the store "gone" is not there: no folder F/gone',
    ],
    [
      'an unknown -o',
      ['-o', 'ro,alow_other', 'F/mnt'],
      '-o alow_other: unknown option (did you mean "allow_other"?); known: ro, rw, allow_other, open_to_others, ' +
        'store, config, log_file, log_level, transport',
    ],
    [
      'a mistake in the configuration',
      ['--config', 'F/full/file', 'F/mnt'],
      'F/full/file:1:1: stroes: unknown key (did you mean "stores"?); known here: stores, guests, state, cache, mount, backup, log',
    ],
    [
      'a log file in the foreground',
      ['--log-file', 'F/log', 'F/mnt'],
      '--log-file goes with --background; in the foreground the log is standard error: 2>>FILE',
    ],
  ])('refuses %s, with exit code 2', async (_what, args, said) => {
    await mkdir(join(place.folder, 'full'));
    await writeFile(join(place.folder, 'full', 'file'), 'stroes: {}\n');
    const refused = await stillfs('mount', ...option, ...args.map((arg) => arg.replace('F', place.folder)));
    expect({ ...refused, stderr: shortened(refused.stderr) }).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: `stillfs: ${said}`,
    });
    expect(await isMounted(place.mountpoint)).toBe(false);
  });

  it('is refused where stillfs is mounted already', async () => {
    const { child, end } = await mountInForeground(...option, place.mountpoint);
    const refused = await stillfs('mount', ...option, place.mountpoint);
    child.kill();
    await end;
    expect(refused.exitCode).toBe(2);
    expect(shortened(refused.stderr)).toBe(
      'stillfs: F/mnt has stillfs mounted on it already; end that first: stillfs umount F/mnt',
    );
  });

  it.each([
    [[]],
    [['--background']],
  ])('says what is missing where nothing can be mounted: %j', async (args) => {
    const mount = [command, 'mount', ...args, ...option, place.mountpoint];
    // Without a PATH there is no mount(8).
    const failed = await run(process.execPath, mount, { PATH: '/nonexistent' });
    expect(failed.exitCode).toBe(4);
    expect(shortened(failed.stderr)).toMatch(/^stillfs: can't mount on F\/mnt: .*\bmount\b/);
    expect(await servers(place.mountpoint)).toEqual([]);
  });
});

describe('stillfs mount --background', () => {
  it('returns when the tree answers, and leaves a daemon that writes its log to a file', async () => {
    const log = join(place.folder, 'log');
    const first = await mountInForeground(...option, place.mountpoint);
    first.child.kill('SIGKILL');
    await first.end;

    const begun = await stillfs('mount', '--background', '--log-file', log, ...option, place.mountpoint);
    expect(await readFile(disk, 'utf8')).toBe('the disk');
    expect(begun).toMatchObject({ exitCode: 0, stdout: '' });
    expect(await servers(place.mountpoint)).toHaveLength(1);
    // It stands in no folder that somebody may want to unmount, and holds no terminal.
    const [server] = await servers(place.mountpoint);
    expect(await realpath(`/proc/${server}/cwd`)).toBe('/');
    expect(await realpath(`/proc/${server}/fd/0`)).toBe('/dev/null');
    expect(await realpath(`/proc/${server}/fd/1`)).toBe(await realpath(log));

    expect(await stillfs('umount', place.mountpoint)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(await servers(place.mountpoint)).toEqual([]);
  });

  it('takes paths as they are where it was called', async () => {
    const call = [command, 'mount', '--background', '--store', 'store', 'mnt'];
    await execa(process.execPath, call, { cwd: place.folder });
    expect(await readFile(disk, 'utf8')).toBe('the disk');
    await execa(process.execPath, [command, 'umount', 'mnt'], { cwd: place.folder });
    expect(await isMounted(place.mountpoint)).toBe(false);
  });

  it('says so where the log file can not be written', async () => {
    const log = join(place.folder, 'no', 'log');
    const failed = await stillfs('mount', '--background', '--log-file', log, ...option, place.mountpoint);
    expect(failed.exitCode).toBe(2);
    expect(shortened(failed.stderr)).toMatch(/^stillfs: the log file F\/no\/log can't be written: ENOENT/);
  });
});

describe('a descriptor of /dev/fuse that somebody else has mounted', () => {
  const script = (descriptor: number, args: string): string => `
    exec ${descriptor}<>/dev/fuse
    (exec 3<&${descriptor}; mount -i -t fuse.stillfs -o fd=3,rootmode=40000,user_id=0,group_id=0,ro store "$1")
    exec "$2" "$3" mount ${args} --store "$4" /dev/fd/${descriptor}`;

  it.each([3, 9])('is served: /dev/fd/%i', async (descriptor) => {
    const text = script(descriptor, '--background');
    const args = ['-c', text, 'sh', place.mountpoint, process.execPath, command, option[1]];
    expect(await run('bash', args)).toMatchObject({ exitCode: 0 });
    expect(await readFile(disk, 'utf8')).toBe('the disk');
    expect(await stillfs('umount', place.mountpoint)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(await isMounted(place.mountpoint)).toBe(false);
  });

  it('is served in the foreground until who mounted unmounts', async () => {
    const text = script(7, '');
    const child = execa('bash', ['-c', text, 'sh', place.mountpoint, process.execPath, command, option[1]]);
    for await (const line of child) {
      expect(line).toBe('mounted /dev/fd/7');
      expect(await readFile(disk, 'utf8')).toBe('the disk');
      await execa('umount', [place.mountpoint]);
    }
    expect((await child).exitCode).toBe(0);
  });

  it('is refused while nothing is mounted over it', async () => {
    const text = 'exec 7<>/dev/fuse; exec "$1" "$2" mount --store "$3" /dev/fd/7';
    const refused = await run('bash', ['-c', text, 'sh', process.execPath, command, option[1]]);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('nothing is mounted over /dev/fd/7');
  });
});

describe('stillfs list', () => {
  beforeEach(async () => {
    await mkdir(join(place.store, '100', '20240101T000000Z'));
    await mkdir(join(place.store, '100', 'lxc-1700000001.failed'));
    await mkdir(join(place.store, '1\x1b[31m'));
    await mkdir(join(place.folder, 'empty'));
  });

  it('prints a table, the oldest backup first, that can do nothing to a terminal', async () => {
    const { exitCode, stdout } = await stillfs('list', ...option, '--store', join(place.folder, 'empty'));
    expect(exitCode).toBe(0);
    expect(stdout.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['STORE', 'GUEST', 'KIND', 'TIME', 'FOLDER'],
      ['store', '1\\x1b[31m', '-', '-', '(no backups)'],
      ['store', '100', 'qemu', '2023-11-14T22:13:20Z', backup],
      ['store', '100', '-', '2024-01-01T00:00:00Z', '20240101T000000Z'],
      ['empty', '-', '-', '-', '(no guests)'],
    ]);
  });

  it('prints JSON for programs', async () => {
    const { exitCode, stdout } = await stillfs('list', '--json', ...option);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      stores: [
        {
          name: 'store',
          path: place.store,
          guests: [
            { name: '1\x1b[31m', backups: [] },
            {
              name: '100',
              backups: [
                { time: '2023-11-14T22:13:20Z', folder: backup, kind: 'qemu', protected: false },
                { time: '2024-01-01T00:00:00Z', folder: '20240101T000000Z', kind: null, protected: false },
              ],
            },
          ],
        },
      ],
    });
  });

  it('ends quietly when its reader has seen enough', async () => {
    const child = execa(process.execPath, [command, 'list', ...option], { reject: false, buffer: false });
    child.stdout.destroy();
    let complaints = '';
    child.stderr.on('data', (chunk: Buffer) => {
      complaints += chunk.toString('utf8');
    });
    expect((await child).exitCode).toBe(0);
    expect(complaints).toBe('');
  });

  it.each([
    [['list'], 'no store: give --store DIR, or a configuration'],
    [['list', '--store', '/nonexistent'], 'the store "nonexistent" is not there: no folder /nonexistent'],
  ])('is refused without a store: %j', async (args, said) => {
    expect(await stillfs(...args)).toEqual({ exitCode: 2, stdout: '', stderr: `stillfs: ${said}` });
  });
});

import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Run, run } from './command-line.js';

const project = new URL('../..', import.meta.url).pathname;
const packed = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')));

describe('the package, installed', () => {
  let folder: string;
  let contents: string[];
  let installed: string;

  const npm = async (...args: string[]): Promise<string> => {
    const done = await run('npm', args);
    if (done.exitCode !== 0) throw new Error(`npm ${args.join(' ')} failed: ${done.stderr}`);
    return done.stdout;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-installed-'));
    // What is packed is what was built: compiling here would pull it from under other tests.
    await npm('pack', project, '--ignore-scripts', '--pack-destination', folder);
    const tarball = join(folder, `stillfs-${packed.version}.tgz`);
    contents = (await run('tar', ['-tf', tarball])).stdout.split('\n');
    await npm(
      'install',
      '--global',
      '--ignore-scripts',
      '--prefer-offline',
      '--prefix',
      join(folder, 'prefix'),
      tarball,
    );
    installed = join(folder, 'prefix', 'bin', 'stillfs');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const stillfs = (...args: string[]): Promise<Run> => run(installed, args);

  it('holds the program and its manual, and no tests', () => {
    const parts = new Set(contents.map((path) => path.split('/').slice(0, 3).join('/')));
    expect([...parts]).toEqual(
      expect.arrayContaining([
        'package/package.json',
        'package/README.md',
        'package/LICENSE',
        'package/CHANGELOG.md',
        'package/docs/mounting.md',
        'package/dist/src',
        'package/dist/mount',
      ]),
    );
    expect(contents.filter((path) => /test/.test(path) && path !== 'package/docs/testing.md')).toEqual([]);
  });

  it('tells its version', async () => {
    expect(await stillfs('--version')).toEqual({ exitCode: 0, stdout: packed.version, stderr: '' });
  });

  it('lists a store, so that all that it needs is there', async () => {
    const { exitCode, stdout } = await stillfs('list', '--store', `empty=${folder}/prefix/bin`);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('(no guests)');
  });

  it.each([
    [['--help'], 'stillfs mount --store /var/backups /mnt/backups'],
    [['help', 'mount'], 'stillfs mount -o allow_other,store=/var/backups /mnt/backups'],
    [['mount', '--help'], 'stillfs mount --store nas=/net/nas/vm --store usb=/media/disk --background'],
    [['umount', '--help'], 'stillfs umount /mnt/backups'],
    [['list', '--help'], 'stillfs list --store nas=/net/nas/vm --json'],
  ])('helps with an example: stillfs %j', async (args, example) => {
    const { exitCode, stdout, stderr } = await stillfs(...args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(/^Usage: stillfs /);
    expect(stdout).toMatch(/\n\nExamples?:\n/);
    expect(stdout).toContain(`  ${example}`);
  });

  it.each([
    [[], 'Usage: stillfs'],
    [['mout'], "unknown command 'mout'\n(Did you mean mount?)"],
    [['--hepl'], "unknown option '--hepl'\n(Did you mean --help?)"],
    [['mount', '--stor', '/a'], "unknown option '--stor'\n(Did you mean --store?)"],
    [['mount', '--transport', 'usb'], "'usb' is invalid. Allowed choices are kernel, fuse-native."],
    [['mount', '--store', '/a', '/b', '/c'], "too many arguments for 'mount'"],
    [['umount'], "missing required argument 'MOUNTPOINT'"],
  ])('exits with 2 and says what was wrong: stillfs %j', async (args, complaint) => {
    const { exitCode, stdout, stderr } = await stillfs(...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toContain(complaint);
  });
});

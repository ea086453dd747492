import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackedUpContainer, unpacked } from '../backups/backed-up-container.js';
import { type Child, heard } from '../backups/backed-up-guest.js';
import { programsOf, runs } from '../backups/children.js';
import { builtCommand } from '../built-command.js';
import { makeOddities } from '../corpus/oddities.js';
import { output } from './served-mount.js';

const full = process.env.STILLFS_FULL !== undefined;
const preload = join(dirname(builtCommand), '../../test/backups/kill-provider.js');
/** Steps of a backup before which a kill tells something; --full: before each. */
const telling = [/^open excluded$/, /^open archive\.tar\.zst\.sums$/, /^rename to TIME$/, /^write outcome$/];
/** What takes a while to be packed, for it can't be compressed. */
const big = '/root/big';
const forms = ['tar.zst', 'tar', 'squashfs', 'folder'] as const;
type Form = (typeof forms)[number];
/** Those that are ended while they are packed; the short form has the usual one, and the one that is no archive. */
const packed = full ? forms : (['tar.zst', 'folder'] as const);
const programsOfForm: Readonly<Record<Form, string[]>> = {
  'tar.zst': ['tar', 'zstd'],
  tar: ['tar'],
  squashfs: ['mksquashfs'],
  folder: ['tar'],
};

describe('a container’s backup that something happens to', () => {
  let backedUp: BackedUpContainer;

  beforeAll(async () => {
    backedUp = await BackedUpContainer.make();
    await backedUp.container.inside(`dd if=/dev/urandom of=${big} bs=1M count=12; echo first >/root/file`);
    await backedUp.container.mount();
  });
  afterAll(() => backedUp?.remove());

  /** The next backup is made, is whole, and nothing is left of the one before. */
  const goesOn = async (...options: string[]): Promise<void> => {
    const { folder } = await backedUp.backup(...options);
    expect(await backedUp.left()).toEqual([]);
    const files = await unpacked(folder, join(backedUp.container.folder, 'unpacked'));
    const [inside = ''] = (await backedUp.container.inside(`sha256sum ${big}`)).split(' ');
    expect(await output('sha256sum', join(files, big))).toContain(inside);
  };
  /** Starts a backup in a form, and resolves when its files are being packed, with the programs that do it. */
  const packing = async (form: Form): Promise<{ child: Child; programs: Map<string, number> }> => {
    const child = backedUp.start(['--archive', form, '--bwlimit', '4M']);
    await heard(child, /"progress"/);
    const wanted = programsOfForm[form];
    let programs = new Map<string, number>();
    const names = async (): Promise<string[]> => {
      programs = await programsOf(child.pid ?? 0);
      return [...programs.keys()];
    };
    await expect.poll(names, { interval: 5 }).toEqual(expect.arrayContaining(wanted));
    return { child, programs };
  };

  it('is undone by the next one, at whatever step the provider is killed', { timeout: 900_000 }, async () => {
    const stepsFile = join(backedUp.container.folder, 'steps');
    const killAt = async (step: number): Promise<{ steps: string[]; exitCode: number | undefined }> => {
      await rm(stepsFile, { force: true });
      const env = {
        NODE_OPTIONS: `--import=${preload}`,
        STILLFS_KILL_STEP: String(step),
        STILLFS_KILL_STEPS: stepsFile,
      };
      const { exitCode } = await backedUp.start(['--exclude', big], env);
      return { steps: (await readFile(stepsFile, 'utf8')).trim().split('\n'), exitCode };
    };
    const { steps, exitCode } = await killAt(0);
    expect(exitCode, steps.join('; ')).toBe(0);
    for (const wanted of telling) expect(steps.join('\n')).toMatch(new RegExp(wanted.source, 'm'));
    const tried: string[] = [];
    for (const [index, what] of steps.entries()) {
      if (!full && !telling.some((wanted) => wanted.test(what))) continue;
      const before = await backedUp.published();
      expect((await killAt(index + 1)).exitCode, what).toBeUndefined();
      const made = (await backedUp.published()).filter((name) => !before.includes(name));
      for (const name of made) {
        const files = await unpacked(
          join(backedUp.guestFolder, name),
          join(backedUp.container.folder, 'unpacked'),
        );
        expect(await readFile(join(files, 'root/file'), 'utf8')).toBe('first\n');
      }
      await backedUp.backup('--exclude', big);
      expect(await backedUp.left()).toEqual([]);
      tried.push(`${index + 1}. before ${what}: ${made.length === 1 ? 'stored' : 'not stored'}`);
    }
    process.stdout.write(`${tried.join('\n')}\n`);
  });

  it.each(
    packed,
  )('ends with all its programs when the provider is killed, and is undone: %s', async (form) => {
    const { child, programs } = await packing(form);
    child.kill('SIGKILL');
    await child;
    for (const pid of programs.values()) await expect.poll(() => runs(pid), { interval: 5 }).toBe(false);
    await goesOn('--archive', form);
  });

  it.each(packed)('undoes everything when it is asked to end: %s', async (form) => {
    const before = await backedUp.published();
    const { child } = await packing(form);
    child.kill('SIGINT');
    const { exitCode, stdout } = await child;
    expect({ exitCode, end: stdout.split('\n').at(-1) }).toMatchObject({
      exitCode: 1,
      end: expect.stringMatching(/"backup-abort".*ended by SIGINT/),
    });
    expect(await backedUp.left()).toEqual([]);
    expect(await backedUp.backups()).toEqual(before);
  });

  it.each([
    ['tar.zst', 'zstd'],
    ['tar', 'tar'],
    ['squashfs', 'mksquashfs'],
    ['folder', 'tar'],
  ] as const)('is given up when a program of it is killed, and says which: %s, %s', async (form, name) => {
    const { child, programs } = await packing(form);
    process.kill(programs.get(name) ?? 0, 'SIGKILL');
    expect(await child).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(new RegExp(`${name} failed \\(SIGKILL\\)`)),
    });
    expect(await backedUp.left()).toEqual([]);
  });

  it('is given up when the mount’s daemon is killed', async () => {
    const { child } = await packing('tar.zst');
    await backedUp.container.end('SIGKILL');
    expect(await child).toMatchObject({ exitCode: 1 });
    await backedUp.container.mount();
    await goesOn();
  });

  it.each(forms)('leaves a store that is full as it was: %s', async (form) => {
    const small = join(backedUp.container.folder, 'small');
    await mkdir(small);
    await output('mount', '-t', 'tmpfs', '-o', 'size=4m', 'small', small);
    try {
      expect(await backedUp.run('--store', small, '--archive', form)).toMatchObject({
        exitCode: 1,
        stdout: expect.stringMatching(/the store is full|there is no room left/),
      });
      expect(await readdir(join(small, '201'))).toEqual(['.lock']);
      expect(await backedUp.left()).toEqual([]);
    } finally {
      await output('umount', small);
      await rm(small, { recursive: true });
    }
  });

  it('packs paths that are longer than any call takes; as a folder they are a failure, of which nothing is left', async () => {
    const deep = join(backedUp.container.rootfs, 'root/deep');
    await mkdir(deep);
    makeOddities(deep);
    await output(
      'find',
      deep,
      '-mindepth',
      '1',
      '-maxdepth',
      '1',
      '!',
      '-name',
      'deep',
      '-exec',
      'rm',
      '-rf',
      '{}',
      '+',
    );
    const { folder } = await backedUp.backup('--archive', 'tar', '--exclude', '*.o');
    const listed = await output('tar', '-tf', join(folder, 'archive.tar'));
    expect(Math.max(...listed.split('\n').map((line) => line.length))).toBeGreaterThan(4096);
    expect(await backedUp.run('--archive', 'folder')).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(/File name too long/),
    });
    expect(await backedUp.left()).toEqual([]);
    await output('rm', '-rf', deep);
  });
});

import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackedUpGuest, heard } from '../backups/backed-up-guest.js';
import { childrenOf } from '../backups/children.js';
import { described } from '../backups/stored-backup.js';
import { writeMarked } from '../machine/known-writes.js';
import { output } from './served-mount.js';

const mebibyte = 2 ** 20;
const full = process.env.STILLFS_FULL !== undefined;
const preload = fileURLToPath(new URL('../../dist/test/backups/kill-provider.js', import.meta.url));
/** The steps after which a kill is tried always; with STILLFS_FULL each step is. */
const telling = [
  /^mkdir store@/,
  /^open disk\.sums/,
  /^rename to TIME/,
  /^write outcome/,
  /^rmdir/,
  /^rm .*trace$/,
];
const bytes = 4 * mebibyte;

describe('a backup that does not come to its end', () => {
  let backedUp: BackedUpGuest;
  let writes = 0;

  beforeAll(async () => {
    backedUp = await BackedUpGuest.make({ agent: false, disks: [{ id: 'disk', bytes, format: 'qcow2' }] });
    await backedUp.guest.mount();
    await write();
    await backedUp.backup();
  });
  afterAll(() => backedUp?.remove());

  /** The guest writes somewhere else each time, so that a lost increment would be seen. */
  const write = (length = 4096): Promise<void> => {
    const offset = (writes++ * 5 * 65_536) % (bytes - mebibyte);
    return writeMarked(backedUp.guest.machine, 'disk', offset, length, `write ${writes}`);
  };
  /** The next backup is an increment, and nothing is left of the one before. */
  const goesOn = async (): Promise<void> => {
    const made = await backedUp.backup();
    expect(await backedUp.left()).toEqual([]);
    expect(await described(made)).toMatchObject({ disks: { disk: { mode: 'reuse' } } });
    expect(await backedUp.wrong('new')).toEqual([]);
  };
  /** A backup that takes some seconds. */
  const slowly = ['--bwlimit', '512K'];

  it('is undone by the next one, at whatever step the provider is killed', async () => {
    const stepsFile = join(backedUp.guest.folder, 'steps');
    const killAt = async (step: number): Promise<{ steps: string[]; exitCode: number | undefined }> => {
      await rm(stepsFile, { force: true });
      const env = {
        NODE_OPTIONS: `--import=${preload}`,
        STILLFS_KILL_STEP: String(step),
        STILLFS_KILL_STEPS: stepsFile,
      };
      const { exitCode } = await backedUp.start([], env);
      return { steps: (await readFile(stepsFile, 'utf8')).trim().split('\n'), exitCode };
    };
    await write();
    const { steps, exitCode } = await killAt(0);
    expect(exitCode, steps.join('; ')).toBe(0);
    for (const wanted of telling) expect(steps.join('\n')).toMatch(new RegExp(wanted.source, 'm'));
    const tried: string[] = [];
    for (const [index, what] of steps.entries()) {
      if (!full && !telling.some((wanted) => wanted.test(what))) continue;
      await write();
      const hashes = await backedUp.guestHashes();
      const before = await backedUp.backups();
      const { exitCode: killed } = await killAt(index + 1);
      expect(killed, what).toBeUndefined();
      const made = (await backedUp.published()).filter((name) => !before.includes(name));
      for (const name of made) backedUp.record(name, hashes);
      await write();
      await goesOn();
      tried.push(`${index + 1}. before ${what}: ${made.length === 1 ? 'stored' : 'not stored'}`);
    }
    process.stdout.write(`${tried.join('\n')}\n`);
  }, 1_200_000);

  it('undoes everything when it is asked to end', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      await write(mebibyte);
      const before = await backedUp.backups();
      const child = backedUp.start(slowly);
      await heard(child, /"progress".*"done":[1-9]/);
      child.kill(signal);
      const { exitCode, stdout } = await child;
      expect({ exitCode, end: stdout.split('\n').at(-1) }).toMatchObject({
        exitCode: 1,
        end: expect.stringMatching(new RegExp(`"backup-abort".*ended by ${signal}`)),
      });
      expect(await backedUp.left()).toEqual([]);
      expect(await backedUp.backups()).toEqual(before);
    }
    await goesOn();
  });

  it('is given up when the image’s server is killed, and says so', async () => {
    await write(mebibyte);
    const child = backedUp.start(slowly);
    await heard(child, /"progress".*"done":[1-9]/);
    const [daemon] = await childrenOf(child.pid ?? 0);
    process.kill(daemon ?? 0, 'SIGKILL');
    expect(await child).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(/qemu-storage-daemon ended/),
    });
    expect(await backedUp.left()).toEqual([]);
    await goesOn();
  });

  it('is given up when the mount’s daemon is killed', async () => {
    await write(mebibyte);
    const child = backedUp.start(slowly);
    await heard(child, /"progress".*"done":[1-9]/);
    await backedUp.guest.end('SIGKILL');
    expect(await child).toMatchObject({ exitCode: 1 });
    await output('umount', '-l', backedUp.guest.mountpoint);
    await backedUp.guest.mount();
    expect(await backedUp.left()).toEqual([]);
    await goesOn();
  });

  it('is refused while another one goes on, unless it may wait', async () => {
    await write(mebibyte);
    const hashes = await backedUp.guestHashes();
    const first = backedUp.start(slowly);
    await heard(first, /took the snapshot/);
    const second = await backedUp.run();
    expect(second).toMatchObject({
      exitCode: 3,
      stdout: expect.stringMatching(/in use by "backup of 100", process \d+/),
    });
    const waiting = backedUp.run('--wait', '60');
    expect((await first).exitCode).toBe(0);
    expect((await waiting).exitCode).toBe(0);
    for (const name of (await backedUp.backups()).slice(-2)) backedUp.record(name, hashes);
    await goesOn();
  });

  it('leaves a store that is full as it was', async () => {
    const small = join(backedUp.guest.folder, 'small');
    await mkdir(small);
    await output('mount', '-t', 'tmpfs', '-o', 'size=2m', 'small', small);
    try {
      await write(mebibyte);
      const random = `dd if=/dev/urandom of=/dev/disk/disk bs=1M count=4 oflag=direct conv=fsync`;
      await backedUp.guest.machine.output(random);
      const filled = await backedUp.run('--store', small, '--full');
      expect(filled).toMatchObject({
        exitCode: 1,
        stdout: expect.stringMatching(/the store is full|ENOSPC/),
      });
      const { stdout } = await execa('find', [small, '-mindepth', '1', '-printf', '%P\n']);
      expect(stdout.split('\n').sort()).toEqual(['100', '100/.lock']);
      expect(await backedUp.left()).toEqual([]);
    } finally {
      await output('umount', small);
    }
    await goesOn();
  });

  it('harms no backup that was stored before', async () => {
    expect(await backedUp.wrong()).toEqual([]);
  });
});

import { createHash } from 'node:crypto';
import { cp, type FileHandle, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { KeepRules } from '../../src/provider/prune/keep-rules.js';
import { type PruneResult, runPruneJob } from '../../src/provider/prune/prune-job.js';
import { worst } from '../../src/provider/verify/verdict.js';
import { runVerifyJob } from '../../src/provider/verify/verify-job.js';
import { StoredChain } from '../backups/stored-chain.js';
import { command, mountInForeground, type Run, run, stillfs } from './command-line.js';
import { output } from './served-mount.js';

const full = process.env.STILLFS_FULL !== undefined;
const preload = fileURLToPath(new URL('../../dist/test/backups/kill-provider.js', import.meta.url));
const cluster = 65_536;

describe('stillfs prune', () => {
  let chain: StoredChain;
  let backups: string[];
  let whole: string;

  beforeAll(async () => {
    chain = await StoredChain.make();
    // What is left there is a prune's for certain.
    await mkdir(join(chain.folder, 'tmp'));
    vi.stubEnv('TMPDIR', join(chain.folder, 'tmp'));
    backups = await chain.addMany(8);
    whole = join(chain.folder, 'whole');
    await cp(chain.store, whole, { recursive: true });
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await chain?.remove();
  });
  beforeEach(() => anew());

  const anew = async (): Promise<void> => {
    await rm(chain.store, { recursive: true, force: true });
    await cp(whole, chain.store, { recursive: true });
  };
  const prune = (...options: string[]): Promise<Run> => stillfs('prune', chain.store, ...options);
  const silent = {
    begun: () => undefined,
    progress: () => undefined,
    ended: () => undefined,
    log: { info: () => undefined, warn: () => undefined },
  };
  const { signal } = new AbortController();
  /** The same without a process of its own: what has become of guest 100. */
  const pruned = async (rules: KeepRules, path = chain.store): Promise<PruneResult> => {
    const job = { path, guest: '100', rules, dryRun: false, waitSeconds: 0 };
    const [result] = await runPruneJob(job, silent, signal);
    if (!result) throw new Error('nothing was pruned');
    return result;
  };
  /** Why backups are still there that the rules don't keep. */
  const reasons = ({ backups: found }: PruneResult): string =>
    found.map(({ reason }) => reason ?? '').join('\n');
  const protect = (backup: string): Promise<void> => writeFile(chain.path(backup, 'protected'), '');
  const kept = (...indexes: number[]): string[] => indexes.map((index) => backups[index] ?? '');
  /** All that is there reads as it did, is verified, and nothing else is left. */
  const isSound = async (): Promise<void> => {
    expect(await chain.wrong()).toEqual([]);
    expect(await chain.left()).toEqual([]);
    const verdicts = await runVerifyJob({ path: chain.store, waitSeconds: 0 }, silent, signal);
    expect(worst(verdicts.flatMap((each) => each.backups.map(({ state }) => state)))).toBe('fine');
    expect(await readdir(join(chain.folder, 'tmp'))).toEqual([]);
  };

  it('removes what the rules don’t keep, and says what it has done', async () => {
    const { exitCode, stdout } = await prune('--keep-last', '2', '--keep-weekly', '2');
    expect({ exitCode, backups: await chain.backups() }).toEqual({ exitCode: 0, backups: kept(2, 6, 7) });
    expect(stdout).toMatch(new RegExp(`${backups[1]} +removed +merged into ${backups[2]}$`, 'm'));
    expect(stdout).toMatch(/^freed \d.* MiB in/m);
    await isSound();
  });

  it.each<[string, KeepRules, number[]]>([
    ['all but the last', { last: 1 }, [7]],
    ['the first', { last: 7 }, [1, 2, 3, 4, 5, 6, 7]],
  ])('removes %s', async (_what, rules, expected) => {
    const { freedBytes, error } = await pruned(rules);
    expect({ error, backups: await chain.backups() }).toEqual({ backups: kept(...expected) });
    expect(freedBytes).toBeGreaterThan(0);
    await isSound();
  });

  if (full)
    it('removes each set of backups that there is', async () => {
      for (let set = 0; set < 2 ** 7; set++) {
        await anew();
        const stay = backups.filter((_, index) => index === 7 || (set & (1 << index)) !== 0);
        for (const backup of stay) if (backup !== backups[7]) await protect(backup);
        expect(reasons(await pruned({ last: 1 }))).toMatch(/^\n*$/);
        expect(await chain.backups()).toEqual(stay);
        expect(await chain.wrong()).toEqual([]);
        expect(await chain.left()).toEqual([]);
      }
    }, 1_200_000);

  it('writes what the next increment will look for', async () => {
    await pruned({ last: 2, weekly: 2 });
    const [first = '', second = '', third = ''] = kept(2, 6, 7);
    const described = async (backup: string) =>
      JSON.parse(await readFile(chain.path(backup, 'backup.json'), 'utf8'));
    expect(await described(first)).toMatchObject({
      parent: null,
      chain: 'daily',
      snapshot: `state-${first}`,
      disks: { vda: { parent: null, base: null, mode: 'new', id: `state-${first}` }, vdb: { parent: null } },
    });
    expect(await described(second)).toMatchObject({
      parent: first,
      disks: { vda: { parent: first, base: `state-${first}`, mode: 'reuse', id: `state-${second}` } },
    });
    expect(await described(third)).toMatchObject({ parent: second });
    const { stdout } = await execa('qemu-img', ['info', '--output=json', chain.path(second, 'vda.qcow2')]);
    expect(JSON.parse(stdout)).toMatchObject({
      'backing-filename': `../${first}/vda.qcow2`,
      'backing-filename-format': 'qcow2',
      'cluster-size': cluster,
    });
  });

  it('says what it would do, and does nothing', async () => {
    const tree = async (): Promise<string> =>
      (await execa('find', [chain.store, '-printf', '%p %i %s %T@\n'])).stdout.split('\n').sort().join('\n');
    await writeFile(chain.path('.lock'), '');
    const before = await tree();
    const { exitCode, stdout } = await prune('--keep-last', '2', '--dry-run');
    expect(exitCode).toBe(0);
    expect(
      stdout
        .split('\n')
        .slice(1)
        .map((line) => line.split(/ {2,}/)),
    ).toEqual([
      ...kept(0, 1, 2, 3, 4, 5).map((backup) => ['100', backup, 'removed', `merged into ${backups[6]}`]),
      ...kept(6, 7).map((backup) => ['100', backup, 'kept']),
    ]);
    // The lock tells who had it last.
    const withoutLock = (text: string): string => text.replace(/^.*\.lock .*$/m, '');
    expect(withoutLock(await tree())).toBe(withoutLock(before));
  });

  it('must be told what to keep', async () => {
    for (const options of [[], ['--keep-all', '--keep-last', '1']])
      expect((await prune(...options)).exitCode).toBe(2);
    expect((await stillfs('prune', `${chain.store}:100/latest`, '--keep-last', '1')).exitCode).toBe(2);
    expect(reasons(await pruned({ all: true }))).toMatch(/^\n*$/);
    expect(await chain.backups()).toEqual(backups);
  });

  it('leaves protected backups alone, and shows them with their notes', async () => {
    const address = `${chain.store}:100/${backups[3]}`;
    expect(await stillfs('protect', address)).toMatchObject({ exitCode: 0, stdout: '' });
    expect(await stillfs('note', address, 'before the upgrade\nto 9.0')).toMatchObject({ exitCode: 0 });
    expect(await stillfs('note', address)).toMatchObject({ stdout: 'before the upgrade\nto 9.0' });
    const listed = await stillfs('list', '--store', chain.store);
    expect(listed.stdout).toMatch(new RegExp(`${backups[3]} +protected: before the upgrade$`, 'm'));
    expect((await pruned({ last: 1 })).backups[3]).toMatchObject({ mark: 'protected', removed: false });
    expect(await chain.backups()).toEqual(kept(3, 7));
    await stillfs('unprotect', `${chain.store}:100/2024-11-04T00:00:00Z`);
    await stillfs('note', address, '');
    expect(await readdir(chain.path(backups[3] ?? ''))).toEqual(
      await readdir(join(whole, '100', backups[3] ?? '')),
    );
    expect(await stillfs('note', address, 'x'.repeat(5000))).toMatchObject({ exitCode: 1 });
    await pruned({ last: 1 });
    expect(await chain.backups()).toEqual(kept(7));
    await isSound();
  });

  it('merges into each of several that build on one', async () => {
    const twig = await chain.add({
      changes: { vda: [{ offset: 0, length: cluster, pattern: 7 }], vdb: [] },
      parent: backups[2] ?? null,
      time: '20241103T120000Z',
    });
    await protect(twig);
    expect((await pruned({ last: 1 })).backups[0]).toMatchObject({ mergedInto: [twig, backups[7]] });
    expect(await chain.backups()).toEqual([twig, ...kept(7)]);
    await isSound();
  });

  it('does not remove what another guest builds on', async () => {
    const other = join(chain.store, '101', '20241110T000000Z');
    await mkdir(other, { recursive: true });
    const base = `../../100/${backups[1]}/vda.qcow2`;
    const image = join(other, 'vda.qcow2');
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', image]);
    const result = await pruned({ last: 1 });
    expect(await chain.backups()).toEqual(kept(1, 7));
    expect(reasons(result)).toContain('101/20241110T000000Z, of another guest, builds on it');
    expect(await chain.wrong()).toEqual([]);
  });

  it('removes nothing for a merge that does not hold what the backup held', async () => {
    const damaged = chain.path(backups[7] ?? '', 'vda.qcow2');
    const { stdout: map } = await execa('qemu-img', ['map', '--output=json', damaged]);
    const own = JSON.parse(map).find((row: { depth: number; data: boolean }) => row.depth === 0 && row.data);
    const file = await open(damaged, 'r+');
    await file.write(Buffer.from('damaged'), 0, 7, own.offset);
    await file.close();
    await protect(backups[2] ?? '');
    const { exitCode, stdout } = await prune('--keep-last', '1');
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(
      /needed .*builds on it, and could not be made independent: .*does not hold what its checksums say/,
    );
    // What others need of it is done all the same.
    expect(await chain.backups()).toEqual(kept(2, 3, 4, 5, 6, 7));
    expect(await chain.left()).toEqual([]);
    expect(await chain.wrong()).toEqual([expect.stringContaining(`vda of ${backups[7]}`)]);
  });

  it('keeps what has no checksums by which a merge could be verified', async () => {
    await rm(chain.path(backups[7] ?? '', 'backup.json'));
    const result = await pruned({ last: 1 });
    expect(await chain.backups()).toEqual(backups);
    expect(reasons(result)).toContain('has no checksums by which a merge could be verified');
  });

  it('does not disturb who reads the backups through a mount', async () => {
    const mountpoint = join(chain.folder, 'mnt');
    await mkdir(mountpoint, { recursive: true });
    const opened: FileHandle[] = [];
    const { child } = await mountInForeground('--store', `store=${chain.store}`, mountpoint);
    try {
      const shown = join(mountpoint, 'backups', 'store', '100');
      const raw = (index: number): string => join(shown, backups[index] ?? '', 'disks', 'vda.raw');
      for (const index of [3, 5, 7]) opened.push(await open(raw(index)));
      const piece = Buffer.alloc(cluster);
      for (const file of opened) await file.read(piece, 0, cluster, 0);
      expect(await prune('--keep-last', '1')).toMatchObject({ exitCode: 0 });
      for (const [at, index] of [3, 5, 7].entries()) {
        const bytes = Buffer.alloc(8 * 2 ** 20);
        await opened[at]?.read(bytes, 0, bytes.length, 0);
        expect(createHash('sha256').update(bytes).digest('hex')).toBe(chain.hashes(backups[index] ?? '').vda);
      }
      const now = await readFile(raw(7));
      expect(createHash('sha256').update(now).digest('hex')).toBe(chain.hashes(backups[7] ?? '').vda);
      await expect.poll(async () => (await readdir(shown)).sort()).toEqual([...kept(7), 'latest']);
      // What emulates a machine on such a file asks for its size at times.
      const sizes = await Promise.all(opened.map(async (file) => (await file.stat()).size));
      expect(sizes).toEqual(opened.map(() => 8 * 2 ** 20));
    } finally {
      for (const file of opened) await file.close();
      await output('umount', mountpoint);
      await child;
    }
  });

  it('leaves a store that is full as it was, and goes on when there is room', async () => {
    const small = join(chain.folder, 'small');
    await mkdir(small);
    const { stdout } = await execa('du', ['-sk', chain.store]);
    const kibibytes = Number(stdout.split('\t')[0]) + 2048;
    await output('mount', '-t', 'tmpfs', '-o', `size=${kibibytes}k`, 'small', small);
    try {
      await cp(chain.store, small, { recursive: true });
      const filled = await stillfs('prune', small, '--keep-last', '1');
      expect(filled).toMatchObject({
        exitCode: 1,
        stdout: expect.stringMatching(/the store is full|ENOSPC/),
      });
      expect((await readdir(join(small, '100'))).sort()).toEqual(['.lock', ...backups]);
      await output('mount', '-o', 'remount,size=64m', small);
      expect(await chain.wrong(join(small, '100'))).toEqual([]);
      await pruned({ last: 1 }, small);
      expect((await readdir(join(small, '100'))).sort()).toEqual(['.lock', ...kept(7)]);
      expect(await chain.wrong(join(small, '100'))).toEqual([]);
    } finally {
      await output('umount', small);
    }
  });

  it('is refused while the backups are in use', async () => {
    const lock = chain.path('.lock');
    const holder = execa('flock', ['-s', lock, 'sh', '-c', 'echo held; read line'], {
      reject: false,
      stdin: 'pipe',
    });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    expect(await prune('--keep-last', '1')).toMatchObject({ exitCode: 3 });
    expect(await stillfs('protect', `${chain.store}:100/latest`)).toMatchObject({ exitCode: 3 });
    const waiting = prune('--keep-last', '1', '--wait', '60');
    holder.stdin.end('\n');
    expect((await waiting).exitCode).toBe(0);
    expect(await chain.backups()).toEqual(kept(7));
  });

  describe('that is interrupted', () => {
    /** Steps at which it is killed always; with STILLFS_FULL each step is one. */
    const telling = [
      /^open merge\.json/,
      /^rename to commit\.json/,
      /^rename to vda\.qcow2/,
      /^rename to backup\.json/,
      /^rename to \.removed/,
      /^rm \.removed/,
      /^rm \.merge/,
      /^rm stillfs-merge/,
    ];

    const rules: KeepRules = { last: 1, weekly: 1 };
    /** Ends a prune by a signal that it gets when it is about to do its Nth step; 0: it goes to its end. */
    const endAt = async (step: number, signal = 'SIGKILL'): Promise<Run & { steps: string[] }> => {
      const steps = join(chain.folder, 'steps');
      await rm(steps, { force: true });
      const env = {
        NODE_OPTIONS: `--import=${preload}`,
        STILLFS_KILL_STEP: String(step),
        STILLFS_KILL_STEPS: steps,
        STILLFS_KILL_SIGNAL: signal,
      };
      const args = [command, 'prune', chain.store, '--keep-last', '1', '--keep-weekly', '1'];
      const ended = await run(process.execPath, args, env);
      return { ...ended, steps: (await readFile(steps, 'utf8')).trim().split('\n') };
    };

    /** A shorter chain: the last four, of which the first becomes independent. */
    beforeEach(async () => {
      await pruned({ last: 4 });
      await rm(`${chain.store}.short`, { recursive: true, force: true });
      await rename(chain.store, `${chain.store}.short`);
      await cp(`${chain.store}.short`, chain.store, { recursive: true });
    });
    const again = async (): Promise<void> => {
      await rm(chain.store, { recursive: true });
      await cp(`${chain.store}.short`, chain.store, { recursive: true });
    };

    it('leaves each backup as it was, at whatever step it is killed, and is finished by the next one', async () => {
      const { steps, exitCode } = await endAt(0);
      expect(exitCode, steps.join('; ')).toBe(0);
      const final = await chain.backups();
      for (const wanted of telling) expect(steps.join('\n')).toMatch(new RegExp(wanted.source, 'm'));
      const chosen = full
        ? steps.map((_, index) => index)
        : telling.map((wanted) => steps.findIndex((step) => wanted.test(step)));
      const tried: string[] = [];
      for (const index of chosen) {
        await again();
        expect((await endAt(index + 1)).exitCode, steps[index]).toBeUndefined();
        const left = await chain.left();
        expect(await chain.wrong(), steps[index]).toEqual([]);
        expect(await chain.backups(), steps[index]).toEqual(expect.arrayContaining(final));
        await pruned(rules);
        expect(await chain.backups(), steps[index]).toEqual(final);
        expect(await chain.left(), steps[index]).toEqual([]);
        expect(await chain.wrong(), steps[index]).toEqual([]);
        tried.push(
          `${index + 1}. before ${steps[index]}: ${left.length === 0 ? 'nothing' : left.join(', ')} left`,
        );
      }
      process.stdout.write(`${tried.join('\n')}\n`);
      await isSound();
    }, 600_000);

    it('undoes what it can when it is asked to end', async () => {
      const { steps } = await endAt(0);
      await again();
      const before = await chain.backups();
      const begun = steps.findIndex((step) => step.startsWith('open vda.qcow2'));
      const { exitCode, stdout } = await endAt(begun + 1, 'SIGINT');
      expect({ exitCode, stdout }).toEqual({
        exitCode: 1,
        stdout: expect.stringContaining('ended by SIGINT'),
      });
      expect(await chain.backups()).toEqual(before);
      await isSound();
    });
  });
});

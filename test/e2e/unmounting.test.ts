import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { qemuImg } from '../corpus/qcow2-images.js';
import { isMounted, mountInForeground, said, servers, stillfs } from './command-line.js';
import { MountedStore } from './mounted-store.js';

const backup = 'qemu-1700000000';
const time = '20231114T221320Z';
const nothing = { exitCode: 0, stdout: '', stderr: '' };

let place: MountedStore;
let option: [string, string];
/** Processes that a test has started beside stillfs. */
let started: ChildProcess[];
beforeEach(async () => {
  place = await MountedStore.make();
  option = ['--store', `store=${place.store}`];
  started = [];
  const folder = join(place.store, '100', backup);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'small.raw'), 'small');
  // A qcow2 of which each byte comes through the daemon, and so many that nobody reads all of them.
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'big.qcow2', '4T');
});
afterEach(async () => {
  for (const child of started) await ended(child);
  await place.remove();
});

function start(program: string, args: readonly string[], cwd = '/'): ChildProcess {
  const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
  started.push(child);
  return child;
}

async function ended(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const end = once(child, 'exit');
  child.kill(signal);
  await end;
}

/** Starts dd on the big disk, and resolves once it has bytes. What it writes is thrown away. */
async function startReading(): Promise<ChildProcess> {
  const dd = start('dd', [`if=${place.path('100', time, 'disks', 'big.raw')}`, 'bs=1M']);
  if (dd.stdout === null) throw new Error('dd has no output');
  await once(dd.stdout, 'data');
  dd.stdout.resume();
  return dd;
}

describe('stillfs umount', () => {
  it('returns when the daemon has ended', async () => {
    await stillfs('mount', '--background', ...option, place.mountpoint);
    expect(await servers(place.mountpoint)).toHaveLength(1);
    expect(await stillfs('umount', `${place.mountpoint}/`)).toEqual(nothing);
    expect(await servers(place.mountpoint)).toEqual([]);
    expect(await isMounted(place.mountpoint)).toBe(false);
  });

  it('finds the mount through a link', async () => {
    const link = join(place.folder, 'link');
    await symlink('mnt', link);
    await stillfs('mount', '--background', ...option, link);
    expect(await stillfs('umount', link)).toEqual(nothing);
    expect(await isMounted(place.mountpoint)).toBe(false);
  });

  it('takes away what a killed daemon has left, though somebody stands in it', async () => {
    const { child, end } = await mountInForeground(...option, place.mountpoint);
    start('sleep', ['infinity'], place.path('100'));
    child.kill('SIGKILL');
    await end;
    expect(await stillfs('umount', place.mountpoint)).toEqual(nothing);
    expect(await isMounted(place.mountpoint)).toBe(false);
  });

  it('leaves a mount that is in use, names each user, and exits with 3', async () => {
    await stillfs('mount', '--background', ...option, place.mountpoint);
    const within = place.path('100');
    const small = place.path('100', time, 'disks', 'small.raw');
    const standing = start('sleep', ['infinity'], within);
    const holding = start('tail', ['-f', small]);
    if (holding.stdout) await once(holding.stdout, 'data');

    const refused = await stillfs('umount', place.mountpoint);
    expect(refused.exitCode).toBe(3);
    expect(refused.stdout).toBe('');
    const [begin = '', ...users] = refused.stderr.split(/ in use by |; /);
    expect(begin).toBe(`stillfs: ${place.mountpoint} is`);
    expect(users.sort()).toEqual(
      [
        `sleep (pid ${standing.pid}): its working folder ${within}`,
        `tail (pid ${holding.pid}): open file ${small}`,
      ].sort(),
    );
    expect(await readFile(small, 'utf8')).toBe('small');

    await ended(standing);
    await ended(holding);
    expect(await stillfs('umount', place.mountpoint)).toEqual(nothing);
  });

  it('leaves a disk alone that is being read', async () => {
    await stillfs('mount', '--background', ...option, place.mountpoint);
    const dd = await startReading();
    const refused = await stillfs('umount', place.mountpoint);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain(`dd (pid ${dd.pid}): open file`);
    await ended(dd);
    expect(await stillfs('umount', place.mountpoint)).toEqual(nothing);
  });

  it.each([
    ['/nonexistent/folder', '/nonexistent/folder is not mounted: ENOENT'],
    ['/etc', '/etc is not mounted'],
    ['/proc', '/proc is a mount of proc, not of stillfs; see umount(8)'],
  ])('leaves %s alone', async (path, message) => {
    const failed = await stillfs('umount', path);
    expect(failed.exitCode).toBe(1);
    expect(failed.stderr).toContain(`stillfs: ${message}`);
  });
});

describe('a signal while a disk is being read', () => {
  // The second signal may come at any point of the way out: it hastens the end and changes nothing else.
  it.each([
    ['SIGTERM', undefined],
    ['SIGINT', 'SIGINT'],
  ] as const)('takes the mount away, names the reader, who gets an error, and ends: %s %s', async (first, second) => {
    const { child, end } = await mountInForeground('--log-level', 'warn', ...option, place.mountpoint);
    const dd = await startReading();
    const failed = once(dd, 'exit');
    const named = said(child, 'stderr', /in use by/);
    child.kill(first);
    await named;
    if (second) child.kill(second);
    const { exitCode, stderr } = await end;
    expect(exitCode).toBe(0);
    expect(stderr).toContain(`the mount is ended though it is in use by dd (pid ${dd.pid}): open file`);
    expect((await failed)[0]).toBe(1);
    expect(await isMounted(place.mountpoint)).toBe(false);
  });
});

describe('tens of thousands of names looked up', () => {
  const rounds = 6;
  const existing = 1000;
  const missing = 5000;

  /** Looks up names that no other round has asked for, in another process. */
  async function lookUp(round: number): Promise<void> {
    const script =
      'cd "$1"; { seq -f "there-$2-%.0f" "$3"; seq -f "missing-$2-%.0f" "$4"; } | xargs stat -c "" 2>&1 | wc -l';
    const numbers = [round, existing, missing].map(String);
    const child = start('sh', ['-c', script, 'sh', place.path('200', time, 'rootfs'), ...numbers]);
    let counted = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      counted += chunk.toString('utf8');
    });
    await once(child, 'close');
    // An empty line for each that is there, a complaint for each that is not.
    expect(Number(counted)).toBe(existing + missing);
  }

  async function residentKibibytes(pid: number): Promise<number> {
    return Number(/^VmRSS:\s*(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
  }

  it('leave no memory and no descriptor behind', async () => {
    const rootfs = join(place.store, '200', 'lxc-1700000000', 'rootfs');
    await mkdir(rootfs, { recursive: true });
    for (let round = 0; round <= rounds; round++) {
      const names = Array.from({ length: existing }, (_, file) => `there-${round}-${file + 1}`);
      await Promise.all(names.map((name) => writeFile(join(rootfs, name), '')));
    }
    // Garbage is collected early, so that less of it lies about when memory is measured.
    vi.stubEnv('NODE_OPTIONS', '--max-semi-space-size=1');
    await place.mount();
    vi.unstubAllEnvs();
    await lookUp(0);
    const first = await residentKibibytes(place.pid);
    const descriptors = await readdir(`/proc/${place.pid}/fd`);
    const later: number[] = [];
    for (let round = 1; round <= rounds; round++) {
      await lookUp(round);
      later.push(await residentKibibytes(place.pid));
    }
    // Garbage comes and goes by tens of MiB where the machine is busy; what is kept would raise the least of it as well.
    expect(Math.min(...later.slice(rounds / 2)) - first).toBeLessThan(16 * 1024);
    expect(await readdir(`/proc/${place.pid}/fd`)).toHaveLength(descriptors.length);
  });
});

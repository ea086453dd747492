import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { output, ServedMount, sha256 } from './served-mount.js';

const run = promisify(execFile);
let mount: ServedMount;
let raw: string;
let qcow2: string;

const snapshots = (...parts: string[]): string => join(mount.mountpoint, 'guests/7/snapshots', ...parts);

beforeAll(async () => {
  mount = new ServedMount(await mkdtemp(join(tmpdir(), 'stillfs-off-')));
  await mkdir(mount.mountpoint);
  raw = join(mount.folder, 'system.raw');
  qcow2 = join(mount.folder, 'data.qcow2');
  await run('qemu-img', ['create', '-q', '-f', 'raw', raw, '4M']);
  await run('qemu-io', ['-f', 'raw', '-c', 'write -P 7 1M 64k', raw]);
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', qcow2, '1G']);
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 9 512M 64k', qcow2]);
  // A second guest of which nothing can be had: its neighbour is not held up.
  await mount.serve([
    ...['--state', join(mount.folder, 'state')],
    ...[
      '--guest',
      `id=7,qmp=${mount.folder}/7.qmp,fleecing=${mount.folder},disks=system:${raw}+data:${qcow2}`,
    ],
    ...['--guest', `id=8,qmp=${mount.folder}/8.qmp,fleecing=${mount.folder}`],
  ]);
});
afterAll(() => mount.remove());

test('a guest that is off says so', async () => {
  const told = JSON.parse(await readFile(join(mount.mountpoint, 'guests/7/guest.json'), 'utf8'));
  expect(told).toMatchObject({ id: '7', state: 'off' });
});

test('a guest that is off gives a snapshot of its images, which nobody can change meanwhile', async () => {
  await mkdir(snapshots('nightly@1'));
  const facts = JSON.parse(await readFile(snapshots('nightly@1/snapshot.json'), 'utf8'));
  expect(facts.state).toBe('off');
  expect(facts.disks.map(({ name, mode, base }: Record<string, unknown>) => [name, mode, base])).toEqual([
    ['system', 'new', null],
    ['data', 'new', null],
  ]);

  const shown = snapshots('nightly@1/disks');
  expect(await sha256(join(shown, 'system.raw'))).toBe(await sha256(raw));
  await run('qemu-img', ['compare', '-U', '-f', 'raw', '-F', 'qcow2', join(shown, 'data.raw'), qcow2]);
  // Of a gibibyte with one cluster in it nearly all is a hole.
  expect(Number(await output('stat', '-c', '%b', join(shown, 'data.raw'))) * 512).toBeLessThan(1024 * 1024);
  for (const [image, format] of [
    [raw, 'raw'],
    [qcow2, 'qcow2'],
  ] as const)
    await expect(run('qemu-io', ['-f', format, '-c', 'write 0 512', image])).rejects.toThrow(/write" lock/);

  await run('fallocate', ['--punch-hole', '--offset', '0', '--length', '65536', join(shown, 'system.raw')]);
  await expect(readFile(join(shown, 'system.raw'))).rejects.toMatchObject({ code: 'EIO' });

  await writeFile(snapshots('nightly@1/outcome'), 'success\n');
  await rmdir(snapshots('nightly@1'));
  await run('qemu-io', ['-f', 'raw', '-c', 'write -P 8 0 512', raw]);
});

test('what another program has open for writing is no snapshot', async () => {
  const writer = spawn('qemu-io', ['-f', 'raw', raw], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await new Promise<void>((resolve) => writer.stdout.once('data', () => resolve()));
    await expect(mkdir(snapshots('taken'))).rejects.toMatchObject({ code: 'EBUSY' });
  } finally {
    writer.stdin.end('quit\n');
    await new Promise((resolve) => writer.once('exit', resolve));
  }
  await mkdir(snapshots('taken'));
  await rmdir(snapshots('taken'));
});

test('a guest that is off and has no images to be read gives no snapshot', async () => {
  await expect(mkdir(join(mount.mountpoint, 'guests/8/snapshots/any'))).rejects.toMatchObject({
    code: 'EHOSTUNREACH',
  });
});

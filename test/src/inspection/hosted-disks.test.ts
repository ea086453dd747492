import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Disk } from '../../../src/disks/disk.js';
import { HostedDisks } from '../../../src/inspection/hosted/hosted-disks.js';
import type { Name } from '../../../src/name.js';
import type { Tree } from '../../../src/tree/tree.js';

const run = promisify(execFile);
const { signal } = new AbortController();
const entry = new URL('../../../dist/src/inspection/hosted/inspection-worker.js', import.meta.url);
const raw = ['vda', 'raw'] as Name[];

let folder: string;
let image: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-inspection-'));
  const files = join(folder, 'files');
  await mkdir(join(files, 'etc'), { recursive: true });
  await writeFile(join(files, 'etc/fstab'), '');
  await writeFile(join(files, 'etc/large'), Buffer.alloc(1 << 20, 'x'));
  image = join(folder, 'image');
  await writeFile(image, '');
  await truncate(image, 32 << 20);
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', files, image]);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

interface Looked {
  readonly hosted: HostedDisks;
  readonly worker: Worker;
  readonly problems: readonly string[];
  /** Has every read of the disk hang from now on. */
  hang(): void;
}

async function lookInto(name: string): Promise<Looked> {
  const file = await open(image);
  const { size } = await file.stat();
  let hangs = false;
  const disk: Disk = {
    size,
    read: async (offset, target, reading) => {
      if (hangs)
        await new Promise((_, reject) => reading?.addEventListener('abort', () => reject(reading.reason)));
      await file.read(target, 0, target.length, offset);
    },
    extents: async (offset, length) => [{ offset, length, zero: false, dirty: true }],
    close: () => file.close(),
  };
  const problems: string[] = [];
  const worker = new Worker(entry);
  const hosted = new HostedDisks(worker, {
    name,
    disks: [{ name: 'vda' as Name, disk }],
    problem: (sentence) => void problems.push(sentence),
    ended: () => void file.close(),
  });
  await hosted.look(signal);
  const hang = (): void => {
    hangs = true;
  };
  return { hosted, worker, problems, hang };
}

async function inodeOf(tree: Tree, path: string): Promise<bigint> {
  let inode = tree.root;
  for (const name of path.split('/')) {
    inode = (await tree.lookup(inode, name as Name, signal)).attributes?.inode ?? expect.unreachable(path);
  }
  return inode;
}

it('tells what is on the disks, and how the guest sees it', async () => {
  const { hosted } = await lookInto('a guest');
  expect(hosted.volumes).toMatchObject([
    { path: raw, size: 32 << 20, content: { kind: 'file system', facts: { kind: 'ext4' } } },
  ]);
  expect(await hosted.system()).toEqual({ kind: 'unix', root: 0, mounts: [] });
  await hosted.close();
});

it('calls when a tree is closed, and gives another one of the same volume', async () => {
  const { hosted } = await lookInto('a guest');
  let closed = 0;
  const tree = (): Promise<Tree> => hosted.tree(raw, () => void closed++, signal);
  const [first, second] = [await tree(), await tree()];
  await first.close();
  expect(closed).toBe(1);
  expect(await inodeOf(second, 'etc/fstab')).toBeGreaterThan(0n);
  await hosted.close();
});

it('is EIO for one guest alone when its worker is killed, also for who waits', async () => {
  const [one, other] = [await lookInto('one'), await lookInto('other')];
  const trees = await Promise.all(
    [one, other].map(({ hosted }) => hosted.tree(raw, () => undefined, signal)),
  );
  const [killed, alive] = trees;
  if (!killed || !alive) return expect.unreachable();
  const large = await inodeOf(killed, 'etc/large');
  const { handle } = await killed.open(large, 'read', signal);
  one.hang();
  const reading = killed.read(handle, 500_000, new Uint8Array(4096 * 20), signal);
  const failed = expect(reading).rejects.toMatchObject({
    code: 'EIO',
    message: expect.stringMatching(/^the worker that reads the disks of one /),
  });
  await one.worker.terminate();
  await failed;
  await expect(killed.attributes(killed.root, signal)).rejects.toMatchObject({ code: 'EIO' });
  await expect(one.hosted.tree(raw, () => undefined, signal)).rejects.toMatchObject({ code: 'EIO' });

  expect((await alive.attributes(alive.root, signal)).type).toBe('directory');
  await Promise.all([one.hosted.close(), other.hosted.close()]);
});

it('lets a wait for a disk that hangs be given up, and lives on', async () => {
  const { hosted, hang } = await lookInto('a guest');
  const tree = await hosted.tree(raw, () => undefined, signal);
  const large = await inodeOf(tree, 'etc/large');
  const { handle } = await tree.open(large, 'read', signal);
  hang();
  const leaving = new AbortController();
  const reading = tree.read(handle, 500_000, new Uint8Array(4096 * 20), leaving.signal);
  leaving.abort();
  await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
  expect((await tree.attributes(large, signal)).size).toBe(1 << 20);
  await hosted.close();
});

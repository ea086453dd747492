import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rename, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeSmallFiles } from '../corpus/guest-trees.js';
import { compareTrees } from '../tree-comparison/compare-trees.js';
import { MountedStore, output, sha256 } from './mounted-store.js';

const backup = 'lxc-1700000000';
const time = '20231114T221320Z';

describe('archives of a store', () => {
  let store: MountedStore;
  let tree: string;
  const mount = (...options: string[]): Promise<void> =>
    store.mount('--cache', join(store.folder, 'cache'), ...options);
  const shown = (guest: string, ...parts: string[]): string => store.path(guest, time, 'rootfs', ...parts);
  const problems = (guest: string): Promise<string> =>
    readFile(store.path(guest, time, 'PROBLEM.txt'), 'utf8');
  /** The path of an archive to be, in a backup of its own. */
  const archive = async (guest: string, name: string): Promise<string> => {
    const folder = join(store.store, guest, backup);
    await mkdir(folder, { recursive: true });
    return join(folder, name);
  };

  beforeEach(async () => {
    store = await MountedStore.make();
    tree = join(store.folder, 'tree');
    await makeSmallFiles(tree, 500);
  });
  afterEach(() => store.remove());

  it('are found by their names: archive.…, rootfs.…, root.…, or the only one there is', async () => {
    const plain = join(store.folder, 'plain.tar');
    await output('tar', '-C', tree, '-cf', plain, '.');
    const guests = {
      usual: ['archive.tar', 'other.tar', 'notes.txt'],
      only: ['vzdump-lxc-201.tar', 'guest.conf'],
      unclear: ['one.tar', 'two.tar'],
      none: ['archive.tar.txt', 'tar'],
    };
    for (const [guest, names] of Object.entries(guests)) {
      for (const name of names) await output('cp', plain, await archive(guest, name));
    }
    await mount();
    const listing = async (guest: string): Promise<string[]> =>
      (await readdir(store.path(guest, time))).sort();
    expect(await listing('usual')).toEqual(['PROBLEM.txt', 'notes.txt', 'other.tar', 'rootfs']);
    expect(await problems('usual')).toMatch(
      /other\.tar is shown as the file it is: rootfs\/ is what archive\.tar holds/,
    );
    expect(await listing('only')).toEqual(['guest.conf', 'rootfs']);
    expect(await readdir(shown('only'))).toHaveLength(2);
    expect(await listing('unclear')).toEqual(['PROBLEM.txt', 'one.tar', 'two.tar']);
    expect(await problems('unclear')).toMatch(
      /each of one\.tar, two\.tar may be the container's; call it archive/,
    );
    expect(await listing('none')).toEqual(['archive.tar.txt', 'tar']);
  });

  it('that are cut short show what is there, EIO for what is not, and say so in PROBLEM.txt', async () => {
    await writeFile(join(tree, 'zz-last'), Buffer.alloc(300_000, 'last'));
    for (const [guest, name, pack] of [
      ['plain', 'archive.tar', 'cat'],
      ['packed', 'archive.tar.zst', 'zstd -q'],
    ] as const) {
      const path = await archive(guest, name);
      const script = `cd "$1" && { find . ! -name zz-last -print0; printf './zz-last\\0'; } | tar --null --no-recursion -T - -cf - | ${pack} > "$2"`;
      await output('sh', '-c', script, 'sh', tree, path);
      const { size } = await stat(path);
      await truncate(path, guest === 'plain' ? size - 200_000 : Math.floor(size * 0.9));
    }
    await mount();
    const damaged = await readdir(shown('plain'));
    expect(damaged).toContain('zz-last');
    expect(await readFile(shown('plain', 'part-0', 'file-7'))).toEqual(
      await readFile(join(tree, 'part-0', 'file-7')),
    );
    await expect(output('cat', shown('plain', 'zz-last'))).rejects.toThrow(/Input\/output error/);
    expect(await problems('plain')).toMatch(
      /zz-last" is cut short: the archive ends \d+ bytes before the file does/,
    );
    expect((await readdir(shown('packed'))).length).toBeGreaterThan(1);
    expect(await problems('packed')).toMatch(/can't be decompressed beyond/);
  });

  it('that are no archives are EIO, and say why', async () => {
    await writeFile(await archive('image', 'archive.sqfs'), 'hsqs but nothing else');
    await writeFile(await archive('well', 'guest.conf'), 'arch: amd64\n');
    await mount();
    await expect(readdir(shown('image'))).rejects.toThrow(/EIO/);
    expect(await problems('image')).toMatch(/rootfs\/ can't be shown: .*squashfs/);
    expect(await readFile(store.path('well', time, 'guest.conf'), 'utf8')).toBe('arch: amd64\n');
  });

  it('are gone through once: the next mount has their index, until the archive is another', async () => {
    const large = join(store.folder, 'large');
    await makeSmallFiles(large, 6_000);
    const path = await archive('100', 'archive.tar');
    await output('tar', '-C', large, '-cf', path, '.');
    const before = await stat(path);
    /** What the daemon reads for a first listing, bytes. */
    const listed = async (): Promise<{ names: string[]; bytes: number }> => {
      await mount();
      const begin = await bytesRead(store.pid);
      const names = (await readdir(shown('100'))).sort();
      return { names, bytes: (await bytesRead(store.pid)) - begin };
    };
    const first = await listed();
    expect(first.bytes).toBeGreaterThan(before.size * 0.9);
    await store.end();
    const second = await listed();
    expect(second.names).toEqual(first.names);
    expect(second.bytes).toBeLessThan(before.size / 2);
    await store.end();

    // Another archive of the same name, size and time.
    await output('tar', '-C', join(tree, 'part-0'), '-cf', `${path}.new`, '.');
    await truncate(`${path}.new`, before.size);
    await utimes(`${path}.new`, before.atime, before.mtime);
    await rename(`${path}.new`, path);
    expect((await listed()).names).toEqual((await readdir(join(tree, 'part-0'))).sort());
  });

  it('that are compressed are read right with a cache that holds next to nothing', async () => {
    await output('sh', '-c', 'seq 1 3000000 > "$1"', 'sh', join(tree, 'numbers'));
    await output(
      'tar',
      '-C',
      tree,
      '--format=posix',
      '--acls',
      '--xattrs',
      '--gzip',
      '-cf',
      await archive('100', 'archive.tar.gz'),
      '.',
    );
    const config = join(store.folder, 'config.yaml');
    const cache = join(store.folder, 'small-cache');
    await writeFile(config, `cache: { folder: ${cache}, limit: 1M }\n`);
    await store.mount('--config', config);
    expect(await sha256(shown('100', 'numbers'))).toBe(await sha256(join(tree, 'numbers')));
    expect(await compareTrees(tree, shown('100'), { most: 3 })).toEqual([]);
    const used = await output('du', '-sm', cache);
    expect(Number.parseInt(used, 10)).toBeLessThan(12);
  });

  it('are listed on while another takes its time, whose first listing can be interrupted', async () => {
    await output('tar', '-C', tree, '-cf', await archive('quick', 'archive.tar'), '.');
    await output('truncate', '-s', '3G', join(tree, 'zeros'));
    const slow = await archive('slow', 'archive.tar.bz2');
    // What bzip2 has compressed can be put together of pieces: 3 GiB are made as quickly as 64 MiB.
    const compress = `
      tar -C "$1" -cf - zeros | head -c 512 | bzip2 -1 > "$2"
      head -c 64M /dev/zero | bzip2 -1 > "$2.piece"
      for each in $(seq 48); do cat "$2.piece"; done >> "$2"
      head -c 10K /dev/zero | bzip2 -1 >> "$2"
      rm "$2.piece"`;
    await output('sh', '-c', compress, 'sh', tree, slow);
    await mount();
    const listing = spawn('ls', [shown('slow')], { stdio: 'ignore' });
    const ended = once(listing, 'exit');
    await expect.poll(() => store.log, { timeout: 30_000 }).toMatch(/reading through an archive/);
    expect(await readdir(shown('quick'))).toHaveLength(2);
    expect(listing.exitCode).toBeNull();
    expect(await unpackers(store.pid)).toEqual(['bzip2']);
    listing.kill('SIGINT');
    await ended;
    await expect.poll(() => unpackers(store.pid), { timeout: 15_000 }).toEqual([]);
  }, 240_000);
});

/** What a process has read of files so far. */
async function bytesRead(pid: number): Promise<number> {
  const counts = await readFile(`/proc/${pid}/io`, 'utf8');
  return Number(/^rchar: (\d+)$/m.exec(counts)?.[1]);
}

/** The programs that a process runs. */
async function unpackers(pid: number): Promise<string[]> {
  return (await output('sh', '-c', 'ps -o comm= --ppid "$1" || true', 'sh', String(pid)))
    .split('\n')
    .filter((name) => name !== '');
}

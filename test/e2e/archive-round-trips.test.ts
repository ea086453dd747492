import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GuestTree, guestTrees } from '../corpus/guest-trees.js';
import { compareTrees } from '../tree-comparison/compare-trees.js';
import { isUnheldBySquashfs, isUnheldByTar } from '../tree-comparison/unheld.js';
import { MountedStore, output } from './mounted-store.js';

const full = process.env.STILLFS_FULL !== undefined;
const backup = 'lxc-1700000000';
const time = '20231114T221320Z';

const trees: readonly GuestTree[] = ['odd', 'debian', 'small', 'sparse'];
const formats = ['v7', 'ustar', 'oldgnu', 'gnu', 'posix'] as const;
type Format = (typeof formats)[number];

/** How each compression is made: quickly, for what is tested is how it is read. */
const packers = {
  none: { ending: 'tar', command: undefined },
  gzip: { ending: 'tar.gz', command: 'gzip -1' },
  zstd: { ending: 'tar.zst', command: 'zstd -q -1' },
  xz: { ending: 'tar.xz', command: 'xz -0' },
  bzip2: { ending: 'tar.bz2', command: 'bzip2 -1' },
  lz4: { ending: 'tar.lz4', command: 'lz4 -q -1' },
} as const;
type Compression = keyof typeof packers;
const compressions: readonly Compression[] = ['none', 'gzip', 'zstd', 'xz', 'bzip2', 'lz4'];
const squashfsCompressions = ['gzip', 'xz', 'zstd', 'lz4', 'lzo'] as const;

/** What tar says of what a format can't hold. Whatever it leaves out is left out of its extraction, too. */
const unheld: Readonly<Record<Format, RegExp>> = {
  v7: /too long|out of .*range|cannot be .*stored|socket ignored|unknown file type/i,
  ustar: /too long|out of .*range|cannot be .*stored|socket ignored|unknown file type/i,
  oldgnu: /socket ignored|out of .*range/i,
  gnu: /socket ignored/i,
  posix: /socket ignored/i,
};
const options: Readonly<Record<Format, readonly string[]>> = {
  v7: [],
  ustar: [],
  oldgnu: ['--sparse'],
  gnu: ['--sparse'],
  posix: ['--sparse', '--acls', '--xattrs', '--xattrs-include=*'],
};

interface Packed {
  readonly tree: GuestTree;
  readonly format: Format;
  readonly compression: Compression;
}

/** All pairs of tree, format and compression; with --full all of them in every combination. */
const packed: readonly Packed[] = formats.flatMap((format, f) =>
  compressions.flatMap((compression, c) =>
    trees
      .filter((_, t) => full || t === (f + c) % trees.length)
      .map((tree) => ({ tree, format, compression })),
  ),
);
const squashed = trees.flatMap((tree) => squashfsCompressions.map((compression) => ({ tree, compression })));

const guestOf = (...words: string[]): string => words.join('-');

describe('a container that is kept in an archive', () => {
  let store: MountedStore;
  const original = (tree: GuestTree): string => join(store.folder, 'original', tree);
  const extracted = (tree: GuestTree, format: Format): string =>
    join(store.folder, 'extracted', `${tree}-${format}`);
  const shown = (guest: string): string => store.path(guest, time, 'rootfs');
  const folderOf = async (guest: string): Promise<string> => {
    const folder = join(store.store, guest, backup);
    await mkdir(folder, { recursive: true });
    return folder;
  };

  /** Makes a tar archive and lets GNU tar extract it, once for all compressions. */
  async function archiveOf(tree: GuestTree, format: Format): Promise<string> {
    const archive = join(store.folder, `${tree}-${format}.tar`);
    const args = ['--numeric-owner', `--format=${format}`, ...options[format], '-C', original(tree)];
    const complaints = await complaintsOf('tar', ...args, '-cf', archive, '.');
    expect(complaints.filter((line) => !unheld[format].test(line))).toEqual([]);
    await mkdir(extracted(tree, format), { recursive: true });
    const xattrs = ['--acls', '--xattrs', '--xattrs-include=*'];
    await output('tar', ...xattrs, '--numeric-owner', '-C', extracted(tree, format), '-xpf', archive);
    return archive;
  }

  beforeAll(async () => {
    store = await MountedStore.make();
    for (const tree of trees) {
      await mkdir(original(tree), { recursive: true });
      await guestTrees[tree](original(tree), full);
    }
    for (const tree of trees) {
      for (const format of formats) {
        const archive = await archiveOf(tree, format);
        for (const each of packed.filter((one) => one.tree === tree && one.format === format)) {
          const { ending, command } = packers[each.compression];
          const to = join(await folderOf(guestOf(tree, format, each.compression)), `archive.${ending}`);
          if (command) await output('sh', '-c', `${command} < "$1" > "$2"`, 'sh', archive, to);
          else await output('cp', '--sparse=always', archive, to);
        }
        await rm(archive);
      }
    }
    for (const { tree, compression } of squashed) {
      const to = join(await folderOf(guestOf(tree, 'squashfs', compression)), 'archive.sqfs');
      const quick = [
        '-quiet',
        '-no-progress',
        '-noappend',
        ...(compression === 'zstd' ? ['-Xcompression-level', '1'] : []),
      ];
      await output('mksquashfs', original(tree), to, '-comp', compression, ...quick);
    }
    await store.mount('--cache', join(store.folder, 'cache'));
  }, 3_600_000);
  afterAll(() => store.remove());

  it.each(packed)('$tree in a $format archive, $compression, is what GNU tar extracts', async ({
    tree,
    format,
    compression,
  }) => {
    const guest = guestOf(tree, format, compression);
    expect(await compareTrees(extracted(tree, format), shown(guest))).toEqual([]);
    await expect(output('cat', store.path(guest, time, 'PROBLEM.txt'))).rejects.toThrow(/No such file/);
  }, 600_000);

  it.each(trees)('%s in a posix archive is the original, but for what GNU tar leaves out', async (tree) => {
    const { compression } = packed.find((one) => one.tree === tree && one.format === 'posix') ?? fail();
    const differences = await compareTrees(original(tree), shown(guestOf(tree, 'posix', compression)), {
      holes: 'same',
    });
    expect(differences.filter((difference) => !isUnheldByTar(difference))).toEqual([]);
  }, 600_000);

  it.each(
    squashed,
  )('$tree in a squashfs image, $compression, is the original, but for what squashfs rounds off or leaves out', async ({
    tree,
    compression,
  }) => {
    const differences = await compareTrees(original(tree), shown(guestOf(tree, 'squashfs', compression)));
    expect(differences.filter((difference) => !isUnheldBySquashfs(difference))).toEqual([]);
  }, 600_000);

  it.each([
    ['posix', 'zstd'],
    ['squashfs', 'zstd'],
  ])('rsync -aHAXS copies a %s archive (%s) as it is shown', async (...kind) => {
    const tree = packed.find((one) => one.format === kind[0] && one.compression === kind[1])?.tree ?? 'odd';
    const from = shown(guestOf(tree, ...kind));
    const to = join(store.folder, 'by-rsync');
    await output('rsync', '-aHAXS', '--numeric-ids', '--specials', '--devices', `${from}/`, to);
    expect(await compareTrees(from, to)).toEqual([]);
    await output('rm', '-rf', to);
  });
});

function fail(): never {
  throw new Error('every tree has a posix archive');
}

/** Runs a program that may leave something out, and gives what it complains of, line by line. */
async function complaintsOf(program: string, ...args: string[]): Promise<string[]> {
  const script = '"$@" 2>&1 >/dev/null || [ $? -le 2 ]';
  const text = await output('sh', '-c', script, 'sh', program, ...args);
  return text.split('\n').filter((line) => line !== '' && !/Exiting with failure status/.test(line));
}

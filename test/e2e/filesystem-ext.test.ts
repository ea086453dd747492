import { execFileSync, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Churn } from '../corpus/churn.js';
import { guestTrees } from '../corpus/guest-trees.js';
import { makeOddities } from '../corpus/oddities.js';
import { LoopMount, withLoopMount } from '../filesystems/loop-mount.js';
import { MountedImage } from '../filesystems/mounted-image.js';
import { compareTrees, type Difference } from '../tree-comparison/compare-trees.js';
import { output } from './served-mount.js';

const full = process.env.STILLFS_FULL !== undefined;
const mebibyte = 1024 * 1024;

async function makeImage(image: string, mebibytes: number, ...options: string[]): Promise<void> {
  await writeFile(image, '');
  await truncate(image, mebibytes * mebibyte);
  await output('mke2fs', '-q', '-F', ...options, image);
}

const fill = (image: string, use: (mount: LoopMount) => unknown): Promise<unknown> =>
  withLoopMount(image, 'ext4', 'user_xattr,acl', use);

/** Compares what the kernel shows of an image, without changing it, with what we do. */
async function differences(
  image: string,
  ourImage = image,
): Promise<{ found: Difference[]; problems: readonly string[] }> {
  const ours = await MountedImage.start('ext', ourImage);
  try {
    const inodes = { folders: 'same', inodes: 'same' } as const;
    const found: Difference[] = [];
    // What was read of allocated and unwritten room, the kernel takes for data: holes come first, and anew.
    for (const options of [{ ...inodes, holes: 'same', contents: 'ignore' }, inodes] as const) {
      await withLoopMount(image, 'ext4', 'ro,noload', async (kernel) => {
        found.push(...(await compareTrees(kernel.mountpoint, ours.mountpoint, options)));
      });
    }
    return { found: found.filter((difference) => !isSeekOfInlineData(difference)), problems: ours.problems };
  } finally {
    await ours.stop();
  }
}

/** Linux itself does not seek beyond the inline data of a file that was made longer. */
const isSeekOfInlineData = ({ aspect, actual }: Difference): boolean =>
  aspect === 'readable' && actual === 'Error: lseek: ENOENT';

/** Files with data far from each other, in as many pieces as their blocks, and with room that was never written to. */
function makeHoles(folder: string): void {
  const block = 4096;
  const write = (name: string, places: readonly number[], size: number): void => {
    const descriptor = openSync(join(folder, name), 'wx');
    try {
      for (const place of places) writeSync(descriptor, Buffer.alloc(block, place % 251), 0, block, place);
      ftruncateSync(descriptor, size);
    } finally {
      closeSync(descriptor);
    }
  };
  const tebibyte = 2 ** 40;
  write('large', [0, 48 * 1024, 5 * mebibyte, 2 ** 32, 2 ** 39, tebibyte - block], tebibyte);
  write('all-hole', [], tebibyte);
  const every = Array.from({ length: 3000 }, (_, each) => each * 2 * block);
  write('pieces', every, 6000 * block);
  write('pieces-backwards', every.toReversed(), 6000 * block + 7);
  if (!supportsFallocate(join(folder, 'reserved'))) return;
  write('reserved-between', [block, 90 * block], 100 * block);
  execFileSync('fallocate', ['-o', `${10 * block}`, '-l', `${20 * block}`, join(folder, 'reserved-between')]);
  write('reserved-behind', [0], block);
  execFileSync('fallocate', ['-n', '-o', `${block}`, '-l', `${50 * block}`, join(folder, 'reserved-behind')]);
  write('punched', every.slice(0, 200), 400 * block);
  for (let each = 0; each < 50; each++)
    execFileSync('fallocate', [
      '-p',
      '-o',
      `${each * 8 * block}`,
      '-l',
      `${block * 3}`,
      join(folder, 'punched'),
    ]);
}

/** Maps of ext2 and ext3 can't tell of room that was never written to. */
function supportsFallocate(path: string): boolean {
  return spawnSync('fallocate', ['-l', '1M', path], { stdio: 'ignore' }).status === 0;
}

describe('an ext file system', () => {
  let folder: string;
  let image: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-ext-'));
    image = join(folder, 'image');
  });
  afterAll(() => rm(folder, { recursive: true }));

  it.each([
    ['ext2 of the first revision', ['-t', 'ext2', '-r', '0']],
    ['ext2 with blocks of 1 KiB', ['-t', 'ext2', '-b', '1024']],
    ['ext3', ['-t', 'ext3', '-I', '128']],
    ['ext4', ['-t', 'ext4']],
    ['ext4 with inline data', ['-t', 'ext4', '-O', 'inline_data', '-I', '512']],
    ['ext4 with clusters and attributes in inodes', ['-t', 'ext4', '-O', 'bigalloc,ea_inode', '-C', '65536']],
    [
      'ext4 with meta groups and checksums of groups',
      ['-t', 'ext4', '-O', 'meta_bg,^resize_inode,^metadata_csum,uninit_bg', '-b', '1024'],
    ],
    [
      'ext4 with meta groups and two copies',
      ['-t', 'ext4', '-O', 'meta_bg,^resize_inode,sparse_super2,metadata_csum_seed,^64bit'],
    ],
    ['ext4 without types in folders', ['-t', 'ext4', '-O', '^filetype,^dir_index,^flex_bg,^huge_file']],
  ])('%s shows every oddity as the kernel does', async (_, options) => {
    await makeImage(image, 1024, ...options);
    await fill(image, ({ mountpoint }) => makeOddities(mountpoint));
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  });

  it.each([
    ['ext3', ['-t', 'ext3', '-b', '4096']],
    ['ext4', ['-t', 'ext4', '-b', '1024']],
  ])('%s shows files of 1 TiB with holes, in many pieces, and reserved, as the kernel does', async (_, options) => {
    await makeImage(image, 400, ...options);
    await fill(image, ({ mountpoint }) => makeHoles(mountpoint));
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  });

  it('with a large folder shows what the kernel does', async () => {
    const files = full ? 1_000_000 : 10_000;
    await makeImage(
      image,
      full ? 4096 : 400,
      '-t',
      'ext4',
      '-b',
      '1024',
      '-N',
      `${files + files / 50 + 1000}`,
      '-O',
      'large_dir',
    );
    await fill(image, ({ mountpoint }) => {
      mkdirSync(join(mountpoint, 'large'));
      for (let each = 0; each < files; each++)
        writeFileSync(
          join(mountpoint, 'large', `${each} of a large folder`),
          each % 100 === 0 ? `${each}` : '',
        );
      // Blocks of nothing but free entries.
      for (let each = 500; each < files / 2; each++)
        unlinkSync(join(mountpoint, 'large', `${each} of a large folder`));
    });
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  }, 3_600_000);

  if (full)
    it('shows a Debian system as the kernel does', async () => {
      await makeImage(image, 4096, '-t', 'ext4');
      await fill(image, ({ mountpoint }) => guestTrees.debian(mountpoint, true));
      expect(await differences(image)).toEqual({ found: [], problems: [] });
    }, 3_600_000);

  it.each([
    ['ext3', ['-t', 'ext3', '-b', '1024']],
    ['ext4', ['-t', 'ext4', '-b', '1024', '-O', 'inline_data,ea_inode', '-I', '256']],
  ])('%s that was changed for a long time shows what the kernel does', async (_, options) => {
    await makeImage(image, 400, ...options);
    await fill(image, ({ mountpoint }) => new Churn(mountpoint, 7).run(full ? 40_000 : 4_000));
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  });
});

describe('an ext file system that was not unmounted', () => {
  let folder: string;
  let store: LoopMount;

  /** Copies of an image at an instant need a file system that can share blocks. */
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-ext-'));
    const image = join(folder, 'store');
    await writeFile(image, '');
    await truncate(image, 4096 * mebibyte);
    await output('mkfs.xfs', '-q', '-f', '-m', 'reflink=1', image);
    store = await LoopMount.start(image, 'xfs', 'nouuid');
  });
  afterAll(async () => {
    await store.stop();
    await rm(folder, { recursive: true });
  });

  const copy = (from: string, to: string): Promise<string> => output('cp', '--reflink=always', from, to);

  /** Copies an image now and then while files in it change and are synced. */
  async function copiesUnderLoad(image: string, seed: number, mountOptions: string): Promise<string[]> {
    const copies: string[] = [];
    await withLoopMount(image, 'ext4', mountOptions, async ({ mountpoint }) => {
      const load = fork(resolve('dist/test/filesystems/churn-process.js'), [mountpoint, `${seed}`], {
        execArgv: [],
      });
      try {
        for (const turns of full ? [7, 9, 12, 30] : [9]) {
          for (let left = turns; left > 0; left--) await once(load, 'message');
          copies.push(`${image}-${copies.length}`);
          await copy(image, copies.at(-1) ?? '');
        }
      } finally {
        const ended = once(load, 'exit');
        load.kill('SIGKILL');
        await ended;
      }
    });
    return copies;
  }

  it.each([
    ['ext4', 21, 'defaults', ['-t', 'ext4']],
    [
      'ext3 with blocks of 1 KiB and a small journal',
      22,
      'defaults',
      ['-t', 'ext3', '-b', '1024', '-J', 'size=1'],
    ],
    [
      'ext4 with its data in a small journal',
      23,
      'data=journal',
      ['-t', 'ext4', '-b', '1024', '-J', 'size=4'],
    ],
    [
      'ext4 with checksums of transactions',
      24,
      'journal_checksum',
      ['-t', 'ext4', '-O', '^metadata_csum,^64bit'],
    ],
    ['ext4 with commits that wait for nothing', 25, 'journal_async_commit,data=writeback', ['-t', 'ext4']],
  ])(
    '%s shows what the kernel does after its recovery',
    async (_, seed, mountOptions, options) => {
      const image = store.path(`image-${seed}`);
      await makeImage(image, 400, ...options);
      for (const unclean of await copiesUnderLoad(image, seed, mountOptions)) {
        const recovered = `${unclean}-recovered`;
        await copy(unclean, recovered);
        await withLoopMount(recovered, 'ext4', 'noatime,noinit_itable', () => undefined);
        expect(await differences(recovered, unclean)).toEqual({ found: [], problems: [] });
      }
    },
    120_000,
  );

  it('says so where it has fast commits, which are not replayed', async () => {
    const image = store.path('fast-commits');
    await makeImage(image, 400, '-t', 'ext4', '-O', 'fast_commit');
    await withLoopMount(image, 'ext4', 'defaults', async ({ mountpoint }) => {
      const syncedFile = (name: string): void => {
        const descriptor = openSync(join(mountpoint, name), 'w');
        writeSync(descriptor, name);
        fsyncSync(descriptor);
        closeSync(descriptor);
      };
      syncedFile('first');
      await output('sync', '-f', mountpoint);
      await copy(image, `${image}-whole`);
      for (const name of ['second', 'third']) syncedFile(name);
      await copy(image, `${image}-fast`);
    });
    for (const [state, problems] of [
      ['whole', []],
      ['fast', [expect.stringMatching(/has fast commits, which are not replayed/)]],
    ] as const) {
      const ours = await MountedImage.start('ext', `${image}-${state}`);
      try {
        expect(readdirSync(ours.mountpoint)).toContain('first');
        expect(ours.problems).toEqual(problems);
      } finally {
        await ours.stop();
      }
    }
  });
});

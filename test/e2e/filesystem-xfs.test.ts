import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { crc32c } from '../../src/filesystems/crc32c.js';
import { Churn } from '../corpus/churn.js';
import { guestTrees } from '../corpus/guest-trees.js';
import { setXattr } from '../corpus/odd-calls.js';
import { makeOddities } from '../corpus/oddities.js';
import { LoopMount, withLoopMount } from '../filesystems/loop-mount.js';
import { MountedImage } from '../filesystems/mounted-image.js';
import { compareTrees, type Difference } from '../tree-comparison/compare-trees.js';
import { output } from './served-mount.js';

const full = process.env.STILLFS_FULL !== undefined;
const mebibyte = 1024 * 1024;

/** By these the kernel's own tests say that they mean what mkfs.xfs refuses otherwise: small logs. */
const smallAllowed = { TEST_DIR: '/', TEST_DEV: '/', QA_CHECK_FS: '1' };

async function makeImage(image: string, mebibytes: number, ...options: string[]): Promise<void> {
  await writeFile(image, '');
  await truncate(image, mebibytes * mebibyte);
  execFileSync('mkfs.xfs', ['-q', '-f', ...options, image], { env: { ...process.env, ...smallAllowed } });
}

/** Says in the superblock that a file system has these incompatible features. */
async function addFeatures(image: string, features: number): Promise<void> {
  const file = await open(image, 'r+');
  try {
    const sector = Buffer.alloc(512);
    await file.read(sector, 0, 512, 0);
    sector.writeUInt32BE((sector.readUInt32BE(216) | features) >>> 0, 216);
    sector.writeUInt32LE(0, 224);
    sector.writeUInt32LE(~crc32c(0xffff_ffff, sector) >>> 0, 224);
    await file.write(sector, 0, 512, 0);
  } finally {
    await file.close();
  }
}

const fill = (image: string, use: (mount: LoopMount) => unknown): Promise<unknown> =>
  withLoopMount(image, 'xfs', 'nouuid', use);

/** Compares what the kernel shows of an image, without changing it, with what we do. */
async function differences(
  image: string,
  ourImage = image,
): Promise<{ found: Difference[]; problems: readonly string[] }> {
  return withLoopMount(image, 'xfs', 'ro,nouuid,norecovery', async (kernel) => {
    const ours = await MountedImage.start('xfs', ourImage);
    try {
      const all = { holes: 'same', folders: 'same', inodes: 'same', contents: 'ignore' } as const;
      // First of all: what was allocated and never written is data to the kernel once it was read.
      const before = await compareTrees(kernel.mountpoint, ours.mountpoint, all);
      const contents = await compareTrees(kernel.mountpoint, ours.mountpoint);
      const found = [...before, ...contents].filter((difference) => !isRawAcl(difference));
      return { found, problems: ours.problems };
    } finally {
      await ours.stop();
    }
  });
}

/** Linux shows an ACL twice: as an ACL, and as the attribute that XFS keeps it in. We show it once. */
const isRawAcl = ({ aspect, expected }: Difference): boolean =>
  aspect === 'xattrs' && /^trusted\.SGI_ACL_(FILE|DEFAULT): /.test(expected);

describe('an XFS file system', () => {
  let folder: string;
  let image: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-xfs-'));
    image = join(folder, 'image');
  });
  afterAll(() => rm(folder, { recursive: true }));

  it.each([
    ['as mkfs.xfs makes it', []],
    [
      'with blocks of 2 KiB, inodes of 1 KiB, folders in blocks of 16 KiB, 64-bit extent counts, reverse maps',
      ['-b', 'size=2k', '-i', 'size=1024,nrext64=1', '-n', 'size=16k', '-m', 'rmapbt=1'],
    ],
    [
      'with sectors of 4 KiB, 16 allocation groups and nothing that came after version 5',
      [
        ...['-s', 'size=4096', '-d', 'agcount=16'],
        ...['-m', 'bigtime=0,inobtcount=0,reflink=0,finobt=0', '-i', 'sparse=0'],
      ],
    ],
  ])('%s shows every oddity as the kernel does', async (_, options) => {
    await makeImage(image, 2048, ...options);
    await fill(image, ({ mountpoint }) => makeOddities(mountpoint));
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  });

  it('with parent pointers and exchanges of ranges shows what the kernel does', async () => {
    await makeImage(image, 400, '-b', 'size=1k');
    // Neither is in this mkfs.xfs; an empty file system needs no more than to say that it has them.
    await addFeatures(image, (1 << 6) | (1 << 7));
    await fill(image, ({ mountpoint }) => {
      makeOddities(mountpoint);
      new Churn(join(mountpoint, 'links'), 9).run(800);
    });
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  });

  it('with much in one place shows what the kernel does', async () => {
    await makeImage(image, full ? 8192 : 1024, '-b', 'size=1k', '-m', 'rmapbt=1');
    await fill(image, async ({ mountpoint }) => {
      const folderOf = (name: string): string => {
        mkdirSync(join(mountpoint, name));
        return join(mountpoint, name);
      };
      makeManyFiles(folderOf('many'), full ? 1_000_000 : 10_000);
      makeHoles(join(mountpoint, 'a-tebibyte'), 2 ** 40, 40);
      // Extents in a tree of several levels, whose blocks are the smallest there are.
      makeHoles(join(mountpoint, 'pieces'), 5000 * 3072, 5000);
      makeManyAttributes(join(mountpoint, 'attributes'));
      if (full) await guestTrees.debian(folderOf('debian'), true);
    });
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  }, 3_600_000);

  it('that was changed for a long time shows what the kernel does', async () => {
    await makeImage(image, 400, '-b', 'size=1k', '-i', 'nrext64=1');
    await fill(image, ({ mountpoint }) => new Churn(mountpoint, 7).run(full ? 40_000 : 4_000));
    expect(await differences(image)).toEqual({ found: [], problems: [] });
  });
});

describe('an XFS file system that was not unmounted', () => {
  let folder: string;
  let store: LoopMount;

  /** Copies of an image at an instant need a file system that can share blocks. */
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-xfs-'));
    await makeImage(join(folder, 'store'), 4096, '-m', 'reflink=1');
    store = await LoopMount.start(join(folder, 'store'), 'xfs', 'nouuid');
  });
  afterAll(async () => {
    await store.stop();
    await rm(folder, { recursive: true });
  });

  /** Lets the kernel recover a copy, and compares what it shows then with what we show of the image. */
  async function afterRecovery(image: string): Promise<Awaited<ReturnType<typeof differences>>> {
    const recovered = `${image}-recovered`;
    await output('cp', '--reflink=always', image, recovered);
    await withLoopMount(recovered, 'xfs', 'nouuid', () => undefined);
    return differences(recovered, image);
  }

  /** What was being done to an image while these turns were taken; copies of it are made after each of them. */
  async function churned(
    image: string,
    mountOptions: string,
    seed: number,
    turns: readonly number[],
  ): Promise<string[]> {
    const copies: string[] = [];
    await withLoopMount(image, 'xfs', mountOptions, async ({ mountpoint }) => {
      const load = fork(resolve('dist/test/filesystems/churn-process.js'), [mountpoint, `${seed}`], {
        execArgv: [],
      });
      try {
        for (const some of turns) {
          for (let left = some; left > 0; left--) await once(load, 'message');
          copies.push(`${image}-${copies.length}`);
          await output('cp', '--reflink=always', image, copies.at(-1) ?? '');
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
    ['a log that goes around often', 11, ['-l', 'size=6m'], 'nouuid', full ? [20, 60, 150] : [30]],
    ['large records of the log', 12, ['-b', 'size=1k'], 'nouuid,logbsize=256k', [8]],
    ['records as wide as stripes', 13, ['-l', 'sunit=64,size=16m', '-i', 'nrext64=1'], 'nouuid', [8]],
    ['nothing newer', 14, ['-m', 'bigtime=0,reflink=0,finobt=0', '-i', 'sparse=0'], 'nouuid', [8]],
  ] as const)('shows what the kernel does after its recovery, copied while it changed: %s', async (...given) => {
    const [, seed, options, mountOptions, turns] = given;
    const image = store.path(`image-${seed}`);
    await makeImage(image, 400, ...options);
    const copies = await churned(image, mountOptions, seed, turns);
    for (const copy of copies) expect(await afterRecovery(copy)).toEqual({ found: [], problems: [] });
  }, 120_000);

  it.each([
    ['and the log was not written', 21, 'shutdown'],
    ['after the log was written', 22, 'shutdown -f'],
  ])('shows what the kernel does after its recovery, where it was shut down %s', async (_, seed, command) => {
    const image = store.path(`image-${seed}`);
    await makeImage(image, 400, '-m', 'rmapbt=1');
    await fill(image, async ({ mountpoint }) => {
      const churn = new Churn(mountpoint, seed);
      churn.run(600);
      await output('sync', '-f', mountpoint);
      churn.run(900);
      await output('xfs_io', '-x', '-c', command, mountpoint);
    });
    expect(await afterRecovery(image)).toEqual({ found: [], problems: [] });
  });
});

function makeManyFiles(folder: string, files: number): void {
  for (let each = 0; each < files; each++)
    closeSync(openSync(join(folder, `${each}-${'n'.repeat(each % 40)}`), 'wx'));
}

/** A file of a size with a little data at so many places. */
function makeHoles(path: string, size: number, pieces: number): void {
  const descriptor = openSync(path, 'wx');
  for (let each = 0; each < pieces; each++)
    writeSync(descriptor, Buffer.alloc(700, each), 0, 700, Math.floor(size / pieces) * each);
  ftruncateSync(descriptor, size);
  closeSync(descriptor);
}

/** As many as listxattr(2) can tell of, with values of all sizes. */
function makeManyAttributes(path: string): void {
  writeFileSync(path, '');
  for (let each = 0; each < 400; each++) {
    const value = Buffer.alloc(each % 50 === 0 ? each * 150 : each, each);
    setXattr(Buffer.from(path), `user.${'n'.repeat(each % 100)}-${each}`, value);
  }
}

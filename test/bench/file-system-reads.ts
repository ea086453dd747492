import { mkdir, open, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import type { Disk } from '../../src/disks/disk.js';
import { FileSystemTree } from '../../src/filesystems/file-system-tree.js';
import { openFileSystem } from '../../src/filesystems/open-file-system.js';
import type { Name } from '../../src/name.js';
import { Problems } from '../../src/problems.js';
import type { Attributes } from '../../src/tree/attributes.js';
import type { Tree } from '../../src/tree/tree.js';
import { guestTrees, makeSmallFiles } from '../corpus/guest-trees.js';
import { numbers } from '../corpus/qcow2-images.js';
import { MountedGuest } from '../e2e/mounted-guest.js';
import { alternate, type Contender, seconds } from './measure.js';
import { peakMemory, stillfs } from './mounts.js';
import { fuse, kernel, type Mount, withMount } from './peer-mounts.js';
import type { Row } from './report.js';

const nothing = { stdout: 'ignore' } as const;
const time = '20231114T221320Z';

/**
 * File systems inside disks: listing, walking and reading them, against the ordinary ways to do so. The disks hold a Debian
 * system and many small files in `/srv`.
 */
export async function* fileSystemReads(folder: string, files: number, rounds: number): AsyncGenerator<Row> {
  const bench = new FileSystemBench(join(folder, 'file-systems'), rounds);
  await bench.make(files);
  try {
    yield* bench.firstListings();
    yield* bench.walks();
    yield* bench.reads();
    yield* bench.places(files);
    yield* bench.amplification(files);
  } finally {
    await bench.close();
  }
}

class FileSystemBench {
  readonly store: string;
  #machine: Promise<MountedGuest> | undefined;
  #snapshots = 0;

  constructor(
    readonly folder: string,
    readonly rounds: number,
  ) {
    this.store = join(folder, 'store');
  }

  image(kind: string): string {
    return join(this.store, kind, 'qemu-1700000000', 'vda.raw');
  }

  /** One tree as ext4, XFS and NTFS, in raw images; ext4 as a chain of two qcow2 images, too. */
  async make(files: number): Promise<void> {
    const tree = join(this.folder, 'tree');
    await mkdir(tree, { recursive: true });
    await guestTrees.debian(tree, true);
    await makeSmallFiles(join(tree, 'srv'), files);
    await writeFile(join(tree, 'etc/fstab'), '/dev/vda / auto defaults 0 1\n');
    const { stdout } = await execa('du', ['-s', '--block-size=1M', tree]);
    const mebibytes = Math.ceil(Number(stdout.split('\t')[0]) * 1.4) + 512;
    for (const kind of ['ext4', 'xfs', 'ntfs']) {
      const image = this.image(kind);
      await mkdir(join(image, '..'), { recursive: true });
      await execa('truncate', ['-s', `${mebibytes}M`, image]);
      await this.#fill(kind, image, tree);
    }
    const base = join(this.store, 'chain', 'qemu-1699990000');
    const top = join(this.store, 'chain', 'qemu-1700000000');
    await mkdir(base, { recursive: true });
    await mkdir(top, { recursive: true });
    const convert = ['convert', '-f', 'raw', '-O', 'qcow2', this.image('ext4'), join(base, 'vda.qcow2')];
    await execa('qemu-img', convert);
    const backing = ['-b', '../qemu-1699990000/vda.qcow2', '-F', 'qcow2'];
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, join(top, 'vda.qcow2')]);
    await execa('rm', ['-rf', tree]);
  }

  async *firstListings(): AsyncGenerator<Row> {
    for (const place of ['', 'etc']) {
      yield await this.#row(`first listing of /${place}, ext4 in a raw disk`, [
        this.#ownListing('stillfs', 'ext4', place),
        this.#ownListing('stillfs, qcow2 chain', 'chain', place),
        this.#ownListing('stillfs, its mount included', 'ext4', place, true),
        this.#peerListing('fuse2fs', this.#fuse2fs, place),
        this.#peerListing('guestmount', this.#guestmount, place),
        this.#peerListing('kernel ext4', this.#kernelExt4, place),
      ]);
    }
    yield await this.#row('first listing of /etc, NTFS', [
      this.#ownListing('stillfs', 'ntfs', 'etc'),
      this.#peerListing('ntfs-3g', this.#ntfs3g, 'etc'),
    ]);
    yield await this.#row('first listing of /etc, XFS', [
      this.#ownListing('stillfs', 'xfs', 'etc'),
      this.#peerListing('kernel xfs', this.#kernelXfs, 'etc'),
    ]);
  }

  async *walks(): AsyncGenerator<Row> {
    const find = (path: string): Promise<unknown> => execa('find', [path, '-printf', '%s\\n'], nothing);
    for (const again of [false, true]) {
      for (const [group, contenders] of this.#groups()) {
        yield await this.#using(
          `find -printf %s, ${again ? 'again' : 'first'}, ${group}`,
          contenders,
          async (path) => {
            if (again) await find(path);
            return seconds(() => find(path));
          },
        );
      }
    }
  }

  async *reads(): AsyncGenerator<Row> {
    const memory: Row['measured'][number][] = [];
    for (const part of ['usr', 'srv/part-0', 'srv']) {
      const tar = (path: string): Promise<unknown> =>
        execa('sh', ['-c', 'tar -C "$1" -cf - "$2" | cat > /dev/null', 'sh', path, part]);
      for (const [group, contenders] of this.#groups()) {
        yield await this.#using(`reading all of /${part} (tar), ${group}`, contenders, async (path, pid) => {
          const took = await seconds(() => tar(path));
          if (pid > 0) {
            const peak = await peakMemory(pid);
            memory.push({ name: group, median: peak, all: [peak] });
          }
          return took;
        });
      }
    }
    const last = new Map(memory.map((each) => [each.name, each]));
    const measured = [...last.values()];
    yield { title: 'file systems, peak memory of stillfs', unit: 'MiB', higherIsBetter: false, measured };
  }

  /** 1000 files at random. */
  async *places(files: number): AsyncGenerator<Row> {
    const wanted = randomFiles(files);
    for (const [group, contenders] of this.#groups()) {
      yield await this.#using(`reading 1000 files at random, ${group}`, contenders, (path) =>
        seconds(() => execa('xargs', ['cat'], { cwd: path, input: wanted.join('\n'), ...nothing })),
      );
    }
  }

  /** Bytes that are read from the disk for each byte that somebody gets, counted at the disk. */
  async *amplification(files: number): AsyncGenerator<Row> {
    const measured: Row['measured'][number][] = [];
    for (const kind of ['ext4', 'xfs', 'ntfs']) {
      for (const [name, read] of [
        ['4 KiB of each of 1000 files at random', (tree: Tree) => randomPieces(tree, files)],
        ['all files of one folder', (tree: Tree) => wholeFolder(tree)],
      ] as const) {
        const file = await open(this.image(kind));
        const { size } = await file.stat();
        let fromDisk = 0;
        const disk: Disk = {
          size,
          read: async (offset, target) => {
            fromDisk += target.length;
            await file.read(target, 0, target.length, offset);
          },
          extents: async (offset, length) => [{ offset, length, zero: false, dirty: true }],
          close: () => file.close(),
        };
        const { signal } = new AbortController();
        const fileSystem = await openFileSystem(disk, { signal, problem: () => undefined });
        if (!fileSystem) throw new Error(`${kind} is not read`);
        const tree = new FileSystemTree(fileSystem, new Problems());
        const delivered = await read(tree);
        await tree.close();
        const ratio = fromDisk / delivered;
        measured.push({ name: `${kind}, ${name}`, median: ratio, all: [ratio] });
      }
    }
    yield {
      title: 'bytes read from the disk for each that is delivered',
      unit: '×',
      higherIsBetter: false,
      measured,
    };
  }

  async #fill(kind: string, image: string, tree: string): Promise<void> {
    const loop = join(this.folder, 'filled');
    await mkdir(loop, { recursive: true });
    const copy = (): Promise<unknown> => execa('cp', ['-a', `${tree}/.`, loop]);
    if (kind === 'ntfs') {
      await execa('mkntfs', ['-q', '-F', '-Q', image]);
      await execa('ntfs-3g', [image, loop]);
    } else {
      const quiet = kind === 'xfs' ? ['-q'] : ['-q', '-N', '400000'];
      await execa(`mkfs.${kind}`, [...quiet, image]);
      await execa('mount', ['-t', kind, '-o', 'loop', image, loop]);
    }
    try {
      // NTFS can't hold all that Debian's tree has (device nodes and the like): what it can is enough to be read.
      await (kind === 'ntfs' ? copy().catch(() => undefined) : copy());
    } finally {
      await execa('umount', [loop]);
    }
  }

  #groups(): ReadonlyArray<
    readonly [string, ReadonlyArray<{ readonly name: string; readonly mount: Mount }>]
  > {
    return [
      [
        'ext4',
        [
          { name: 'stillfs', mount: this.#own('ext4') },
          { name: 'stillfs, qcow2 chain', mount: this.#own('chain') },
          { name: 'stillfs, running VM', mount: this.#live },
          { name: 'fuse2fs', mount: this.#fuse2fs },
          { name: 'guestmount', mount: this.#guestmount },
          { name: 'kernel ext4', mount: this.#kernelExt4 },
        ],
      ],
      [
        'XFS',
        [
          { name: 'stillfs', mount: this.#own('xfs') },
          { name: 'kernel xfs', mount: this.#kernelXfs },
        ],
      ],
      [
        'NTFS',
        [
          { name: 'stillfs', mount: this.#own('ntfs') },
          { name: 'ntfs-3g', mount: this.#ntfs3g },
        ],
      ],
    ];
  }

  #using(
    title: string,
    contenders: ReadonlyArray<{ readonly name: string; readonly mount: Mount }>,
    use: (path: string, pid: number) => Promise<number>,
  ): Promise<Row> {
    return this.#row(
      title,
      contenders.map(({ name, mount }) => ({
        name,
        run: () =>
          withMount(this.folder, mount, async (path, pid) => {
            await execa('ls', [path], nothing);
            return use(path, name.startsWith('stillfs') ? pid : 0);
          }),
      })),
    );
  }

  async #row(title: string, contenders: readonly Contender[]): Promise<Row> {
    return { title, unit: 's', higherIsBetter: false, measured: await alternate(contenders, this.rounds) };
  }

  /** From the first look into a disk to its first listing: in a mount that has been there for a second, or with the mount's own start. */
  #ownListing(name: string, guest: string, place: string, withItsMount = false): Contender {
    return {
      name,
      run: async () => {
        const begin = performance.now();
        return withMount(this.folder, this.#own(guest), async (path) => {
          if (!withItsMount) await delay(1000);
          const listed = await seconds(() => execa('ls', [join(path, place)], nothing));
          return withItsMount ? (performance.now() - begin) / 1000 : listed;
        });
      },
    };
  }

  #peerListing(name: string, mount: Mount, place: string): Contender {
    return {
      name,
      run: async () => {
        const begin = performance.now();
        return withMount(this.folder, mount, async (path) => {
          await execa('ls', [join(path, place)], nothing);
          return (performance.now() - begin) / 1000;
        });
      },
    };
  }

  #own(guest: string): Mount {
    return async (mountpoint) => {
      const running = await stillfs(this.store, mountpoint);
      return { ...running, path: join(mountpoint, 'backups/store', guest, time, 'rootfs') };
    };
  }

  readonly #live: Mount = async () => {
    const guest = await this.#guest();
    const name = `bench-${this.#snapshots++}`;
    await guest.take(name);
    return {
      path: guest.path(name, 'rootfs'),
      pid: guest.pid,
      stop: () => guest.finish(name),
    };
  };

  /** A VM whose disk is the ext4 one; nobody in it touches it. */
  #guest(): Promise<MountedGuest> {
    this.#machine ??= (async () => {
      const { size } = await stat(this.image('ext4'));
      const guest = await MountedGuest.make({ disks: [{ id: 'data', bytes: size }] });
      const copy = [`if=${this.image('ext4')}`, `of=${guest.image('data')}`];
      await execa('dd', [...copy, 'bs=4M', 'conv=notrunc,sparse', 'status=none']);
      await guest.mount();
      return guest;
    })();
    return this.#machine;
  }

  async close(): Promise<void> {
    await (await this.#machine)?.remove();
    await execa('rm', ['-rf', this.folder]);
  }

  readonly #fuse2fs: Mount = (mountpoint) =>
    fuse('fuse2fs', ['-f', '-o', 'ro', this.image('ext4'), mountpoint], mountpoint);

  readonly #ntfs3g: Mount = (mountpoint) =>
    fuse('ntfs-3g', ['-o', 'ro,no_detach', this.image('ntfs'), mountpoint], mountpoint);

  readonly #guestmount: Mount = (mountpoint) => {
    const disk = ['--format=raw', '-a', this.image('ext4'), '-m', '/dev/sda'];
    return fuse('guestmount', ['--ro', '--no-fork', ...disk, mountpoint], mountpoint);
  };

  readonly #kernelExt4: Mount = (mountpoint) => kernel('ext4', 'noload', this.image('ext4'), mountpoint);
  readonly #kernelXfs: Mount = (mountpoint) =>
    kernel('xfs', 'norecovery,nouuid', this.image('xfs'), mountpoint);
}

/** The file of a path in a tree. */
async function at(tree: Tree, path: string): Promise<Attributes> {
  const { signal } = new AbortController();
  let attributes = await tree.attributes(tree.root, signal);
  for (const name of path.split('/')) {
    const found = await tree.lookup(attributes.inode, name as Name, signal);
    if (!found.attributes) throw new Error(`there is no ${path}`);
    attributes = found.attributes;
  }
  return attributes;
}

/** Reads up to so many bytes of a file from an offset, and says how many there were. */
async function readPiece(tree: Tree, path: string, most: number): Promise<number> {
  const { signal } = new AbortController();
  const { inode } = await at(tree, path);
  const { handle } = await tree.open(inode, 'read', signal);
  try {
    return await tree.read(handle, 0, new Uint8Array(most), signal);
  } finally {
    await tree.release(handle);
  }
}

async function randomPieces(tree: Tree, files: number): Promise<number> {
  let delivered = 0;
  for (const path of randomFiles(files)) delivered += await readPiece(tree, path, 4096);
  return delivered;
}

async function wholeFolder(tree: Tree): Promise<number> {
  let delivered = 0;
  for (let file = 0; file < 250; file++)
    delivered += await readPiece(tree, `srv/part-0/file-${file}`, 1 << 20);
  return delivered;
}

function randomFiles(files: number): string[] {
  const random = numbers(7);
  return Array.from({ length: 1000 }, () => {
    const file = random() % files;
    return `srv/part-${file - (file % 250)}/file-${file % 250}`;
  });
}

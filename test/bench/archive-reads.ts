import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { makeSmallFiles } from '../corpus/guest-trees.js';
import { numbers } from '../corpus/qcow2-images.js';
import { alternate, type Contender, seconds } from './measure.js';
import { peakMemory, type Running, stillfs } from './mounts.js';
import { fuse, kernel, type Mount, withMount } from './peer-mounts.js';
import type { Row } from './report.js';

const shownIn = (mountpoint: string, guest: string): string =>
  join(mountpoint, 'backups/store', guest, '20231114T221320Z/rootfs');
const nothing = { stdout: 'ignore' } as const;

export interface ArchiveSizes {
  /** Of the tree that is listed. */
  readonly files: number;
  /** Of the tree that is read as a whole. */
  readonly read: number;
  /** Members of the archive whose index is measured. */
  readonly members: number;
}

/** Containers in archives: listing, walking and reading them, against the ordinary ways to do so. */
export async function* archiveReads(
  folder: string,
  sizes: ArchiveSizes,
  rounds: number,
): AsyncGenerator<Row> {
  const bench = new ArchiveBench(join(folder, 'archives'), rounds);
  await bench.make(sizes);
  try {
    yield* bench.firstListings();
    yield* bench.walks();
    yield* bench.reads();
    yield* bench.places();
    yield* bench.manyMembers();
  } finally {
    await execa('rm', ['-rf', bench.folder]);
  }
}

class ArchiveBench {
  readonly store: string;
  readonly cache: string;

  constructor(
    readonly folder: string,
    readonly rounds: number,
  ) {
    this.store = join(folder, 'store');
    this.cache = join(folder, 'cache');
  }

  archive(guest: string): string {
    const ending = guest.split('-')[1] ?? '';
    return join(this.store, guest, 'lxc-1700000000', `archive.${ending.replaceAll('_', '.')}`);
  }

  /** Two trees, `all` and `part`, each as tar, gzip, zstd and squashfs; and `members`, a tar archive of empty files. */
  async make({ files, read, members }: ArchiveSizes): Promise<void> {
    for (const [tree, count] of [
      ['all', files],
      ['part', read],
    ] as const) {
      const from = join(this.folder, tree);
      await makeSmallFiles(from, count);
      for (const ending of ['tar', 'tar_gz', 'tar_zst', 'sqfs']) {
        await mkdir(join(this.archive(`${tree}-${ending}`), '..'), { recursive: true });
      }
      const plain = this.archive(`${tree}-tar`);
      // Not `.`: archivemount shows nothing of an archive whose names begin with `./`.
      const names = await readdir(from);
      await execa('tar', ['--format=posix', '--acls', '--xattrs', '-C', from, '-cf', plain, ...names]);
      await execa('sh', ['-c', 'gzip < "$1" > "$2"', 'sh', plain, this.archive(`${tree}-tar_gz`)]);
      await execa('zstd', ['-q', plain, '-o', this.archive(`${tree}-tar_zst`)]);
      const image = this.archive(`${tree}-sqfs`);
      await execa('mksquashfs', [from, image, '-comp', 'zstd', '-quiet', '-no-progress'], nothing);
    }
    await mkdir(join(this.archive('members-tar'), '..'), { recursive: true });
    await writeMembers(this.archive('members-tar'), members);
  }

  async *firstListings(): AsyncGenerator<Row> {
    for (const [ending, flag] of [
      ['tar', '-tf'],
      ['tar_gz', '-tzf'],
      ['tar_zst', '--zstd -tf'],
    ] as const) {
      const guest = `all-${ending}`;
      yield this.#row(`first listing of ${name(ending)}`, [
        this.#listing('stillfs', guest, 'first'),
        this.#listing('stillfs, second mount', guest, 'second'),
        this.#once('tar -t', () => execa('tar', [...flag.split(' '), this.archive(guest)], nothing)),
        ...(ending === 'tar'
          ? [this.#peerListing('archivemount', (path) => this.#archivemount(guest, path))]
          : []),
      ]);
    }
    yield this.#row('first listing of squashfs', [
      this.#listing('stillfs', 'all-sqfs', 'first'),
      this.#peerListing('squashfuse_ll', (path) => this.#squashfuse('all-sqfs', path)),
      this.#peerListing('kernel squashfs', (path) => this.#kernel('all-sqfs', path)),
    ]);
  }

  async *walks(): AsyncGenerator<Row> {
    const find = (path: string): Promise<unknown> => execa('find', [path, '-printf', '%s\\n'], nothing);
    const contenders = this.#contenders('all');
    for (const again of [false, true]) {
      yield this.#row(
        `find -printf %s, ${again ? 'again' : 'first'}`,
        contenders.map(({ name, mount }) => ({
          name,
          run: () =>
            this.#with(mount, async (path) => {
              await execa('ls', [path], nothing);
              if (again) await find(path);
              return seconds(() => find(path));
            }),
        })),
      );
    }
  }

  async *reads(): AsyncGenerator<Row> {
    const tar = (path: string): Promise<unknown> =>
      execa('sh', ['-c', 'tar -C "$1" -cf - . | cat > /dev/null', 'sh', path]);
    const memory: Row['measured'][number][] = [];
    yield this.#row('reading all of the smaller tree (tar)', [
      ...this.#contenders('part')
        .filter((contender) => contender.name !== 'archivemount')
        .map(({ name, mount }) => ({
          name,
          run: () =>
            this.#with(mount, async (path, pid) => {
              await execa('ls', [path], nothing);
              const time = await seconds(() => tar(path));
              if (name.startsWith('stillfs')) {
                const peak = await peakMemory(pid);
                memory.push({ name, median: peak, all: [peak] });
              }
              return time;
            }),
        })),
      this.#extraction('tar -x to a tmpfs', 'part-tar', '-xf'),
      this.#extraction('tar -xz to a tmpfs', 'part-tar_gz', '-xzf'),
    ]);
    const last = new Map(memory.map((each) => [each.name, each]));
    yield {
      title: 'archives, peak memory',
      unit: 'MiB',
      higherIsBetter: false,
      measured: [...last.values()],
    };
  }

  /** 1000 files at random, out of the whole, the first and the last tenth of an archive. */
  async *places(): AsyncGenerator<Row> {
    const folders = (await readdir(join(this.folder, 'all'))).filter((each) => each.startsWith('part-'));
    const inOrder = folders.sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)));
    const tenth = Math.max(1, Math.floor(inOrder.length / 10));
    for (const [place, among] of [
      ['anywhere', inOrder],
      ['in the first tenth', inOrder.slice(0, tenth)],
      ['in the last tenth', inOrder.slice(-tenth)],
    ] as const) {
      const random = numbers(7);
      const files = Array.from({ length: 1000 }, () => {
        const part = among[random() % among.length] ?? '';
        return `${part}/file-${random() % 250}`;
      });
      yield this.#row(
        `reading 1000 files at random, ${place}`,
        this.#contenders('all')
          .filter((contender) => contender.name !== 'archivemount')
          .map(({ name, mount }) => ({
            name,
            run: () =>
              this.#with(mount, async (path) => {
                await execa('ls', [path], nothing);
                return seconds(() =>
                  execa('xargs', ['cat'], { cwd: path, input: files.join('\n'), ...nothing }),
                );
              }),
          })),
      );
    }
  }

  async *manyMembers(): AsyncGenerator<Row> {
    const guest = 'members-tar';
    const peaks: number[] = [];
    yield this.#row('first listing of a large archive', [
      this.#listing('stillfs', guest, 'first', peaks),
      this.#listing('stillfs, second mount', guest, 'second'),
      this.#once('tar -t', () => execa('tar', ['-tf', this.archive(guest)], nothing)),
    ]);
    const peak = Math.max(...peaks);
    yield {
      title: 'first listing of a large archive, peak memory',
      unit: 'MiB',
      higherIsBetter: false,
      measured: [{ name: 'stillfs', median: peak, all: peaks }],
    };
  }

  async #row(title: string, contenders: readonly Contender[]): Promise<Row> {
    return { title, unit: 's', higherIsBetter: false, measured: await alternate(contenders, this.rounds) };
  }

  #once(name: string, work: () => Promise<unknown>): Contender {
    return { name, run: () => seconds(work) };
  }

  /** From the first look into an archive's `rootfs/` to its first listing, in a mount that has just begun. */
  #listing(name: string, guest: string, time: 'first' | 'second', peaks: number[] = []): Contender {
    const list = (path: string): Promise<number> => seconds(() => execa('ls', [path], nothing));
    return {
      name,
      run: async () => {
        await rm(this.cache, { recursive: true, force: true });
        if (time === 'second') await this.#with((path) => this.#stillfs(guest, path), list);
        return this.#with(
          (path) => this.#stillfs(guest, path),
          async (path, pid) => {
            const listed = await list(path);
            peaks.push(await peakMemory(pid));
            return listed;
          },
        );
      },
    };
  }

  #peerListing(name: string, mount: Mount): Contender {
    return {
      name,
      run: async () => {
        let listed = 0;
        const begin = performance.now();
        await this.#with(mount, async (path) => {
          await execa('ls', [path], nothing);
          listed = (performance.now() - begin) / 1000;
        });
        return listed;
      },
    };
  }

  #extraction(name: string, guest: string, flag: string): Contender {
    return {
      name,
      run: async () => {
        const to = join(this.folder, 'tmpfs');
        await mkdir(to, { recursive: true });
        await execa('mount', ['-t', 'tmpfs', 'none', to]);
        try {
          return await seconds(() => execa('tar', [flag, this.archive(guest), '-C', to]));
        } finally {
          await execa('umount', [to]);
        }
      },
    };
  }

  #contenders(tree: 'all' | 'part'): ReadonlyArray<{ name: string; mount: Mount }> {
    const own = (ending: string): { name: string; mount: Mount } => ({
      name: `stillfs, ${name(ending)}`,
      mount: (path) => this.#stillfs(`${tree}-${ending}`, path),
    });
    return [
      own('tar'),
      own('tar_zst'),
      own('sqfs'),
      { name: 'archivemount', mount: (path) => this.#archivemount(`${tree}-tar`, path) },
      { name: 'squashfuse_ll', mount: (path) => this.#squashfuse(`${tree}-sqfs`, path) },
      { name: 'kernel squashfs', mount: (path) => this.#kernel(`${tree}-sqfs`, path) },
    ];
  }

  #with<T>(mount: Mount, use: (path: string, pid: number) => Promise<T>): Promise<T> {
    return withMount(this.folder, mount, use);
  }

  async #stillfs(guest: string, mountpoint: string): Promise<Running> {
    const running = await stillfs(this.store, mountpoint, '--cache', this.cache);
    return { ...running, path: shownIn(mountpoint, guest) };
  }

  #archivemount(guest: string, mountpoint: string): Promise<Running> {
    return fuse('archivemount', ['-f', '-o', 'ro', this.archive(guest), mountpoint], mountpoint);
  }

  #squashfuse(guest: string, mountpoint: string): Promise<Running> {
    return fuse('squashfuse_ll', ['-f', this.archive(guest), mountpoint], mountpoint);
  }

  async #kernel(guest: string, mountpoint: string): Promise<Running> {
    await execa('truncate', ['--size=%4096', this.archive(guest)]);
    return kernel('squashfs', 'defaults', this.archive(guest), mountpoint);
  }
}

const name = (ending: string): string => (ending === 'sqfs' ? 'squashfs' : ending.replaceAll('_', '.'));

/** A ustar archive of so many empty files, 1000 in a folder, written without making them. */
async function writeMembers(path: string, members: number): Promise<void> {
  const file = createWriteStream(path);
  const written = async (bytes: Buffer): Promise<void> => {
    if (!file.write(bytes)) await new Promise<void>((resolve) => file.once('drain', () => resolve()));
  };
  for (let begin = 0; begin < members; begin += 1000) {
    const headers = Array.from({ length: Math.min(1000, members - begin) }, (_, place) =>
      emptyMember(`folder-${begin}/file-${begin + place}`),
    );
    await written(Buffer.concat(headers));
  }
  await written(Buffer.alloc(1024));
  await new Promise<void>((resolve, reject) => {
    file.on('error', reject);
    file.end(() => resolve());
  });
}

function emptyMember(path: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(path, 0, 'latin1');
  header.write(
    '0000644\0' + '0000000\0' + '0000000\0' + '00000000000\0' + '14000000000\0' + '        0',
    100,
  );
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

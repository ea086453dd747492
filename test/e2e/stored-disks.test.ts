import { closeSync, openSync, readSync } from 'node:fs';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Qcow2Recipe, qcow2Recipes, qemuImg, qemuIo, writes } from '../corpus/qcow2-images.js';
import { MountedStore, output, sha256 } from './mounted-store.js';

const backup = 'qemu-1700000000';
const time = '20231114T221320Z';
const isChain = (recipe: Qcow2Recipe): boolean => recipe.name.startsWith('chain');

/** Makes a recipe's image as a backup of a guest of its own, and gives the image's path and the guest. */
async function backUp(
  recipe: Qcow2Recipe,
  place: number,
  store: string,
): Promise<{ image: string; disk: string }> {
  const guest = join(store, String(100 + place));
  const folder = join(guest, backup);
  if (!isChain(recipe)) {
    await mkdir(folder, { recursive: true });
    const path = await recipe.make(folder);
    return { image: join(folder, path), disk: path.replace('.qcow2', '.raw') };
  }
  await mkdir(guest, { recursive: true });
  const last = join(guest, await recipe.make(guest));
  // The last day becomes the backup; its parents lie beside it, as those of other nights do.
  await output('mv', join(last, '..'), folder);
  return { image: join(folder, 'disk.qcow2'), disk: 'disk.raw' };
}

type Range = readonly [begin: number, end: number];

/** The ranges that a tool says read as zeros, joined. */
async function zeros(image: string, format: string): Promise<Range[]> {
  const rows: Array<{ start: number; length: number; zero: boolean }> = JSON.parse(
    await output('qemu-img', 'map', '--output=json', '-f', format, image),
  );
  const ranges: Array<[number, number]> = [];
  for (const { start, length, zero } of rows) {
    const last = ranges.at(-1);
    if (!zero) continue;
    if (last && last[1] === start) last[1] = start + length;
    else ranges.push([start, start + length]);
  }
  return ranges;
}

const within = (inner: readonly Range[], outer: readonly Range[]): boolean =>
  inner.every(([begin, end]) => outer.some(([from, to]) => from <= begin && end <= to));

describe('stored qcow2 disks, mounted', () => {
  const images = new Map<string, { image: string; mounted: string }>();
  let store: MountedStore;

  beforeAll(async () => {
    store = await MountedStore.make();
    for (const [place, recipe] of qcow2Recipes.entries()) {
      const { image, disk } = await backUp(recipe, place, store.store);
      images.set(recipe.name, { image, mounted: store.path(String(100 + place), time, 'disks', disk) });
    }
    await store.mount();
  });
  afterAll(() => store.remove());

  const pathsOf = (recipe: Qcow2Recipe): { image: string; mounted: string } => {
    const paths = images.get(recipe.name);
    if (!paths) throw new Error(`${recipe.name} was not made`);
    return paths;
  };

  it.each(
    qcow2Recipes.filter(({ thin }) => !thin),
  )('$name: has the bytes that QEMU reads', async (recipe) => {
    const { image, mounted } = pathsOf(recipe);
    const converted = join(store.folder, 'converted.raw');
    await output('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, converted);
    expect(await sha256(mounted)).toBe(await sha256(converted));
    await output('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', mounted, image);
    await rm(converted);
  });

  it.each(qcow2Recipes)('$name: has holes where QEMU knows of zeros', async (recipe) => {
    const { image, mounted } = pathsOf(recipe);
    const shown = await zeros(mounted, 'raw');
    const known = await zeros(image, 'qcow2');
    if (recipe.preallocated) expect(within(shown, known)).toBe(true);
    else expect(shown).toEqual(known);
  });

  it('2 TiB, thin: samples are right, and cp --sparse copies it at once', async () => {
    const recipe = qcow2Recipes.find(({ thin }) => thin);
    if (!recipe) throw new Error('there is no thin recipe');
    const { mounted } = pathsOf(recipe);
    const samples: Array<[offset: number, length: number, byte: number]> = [
      [0, 65536, 1],
      [65536, 4096, 0],
      [2 ** 39, 65536, 0],
      [2 ** 40 + 4096, 70000, 2],
      [2 ** 41 - 512, 512, 3],
    ];
    const copy = join(store.folder, 'thin.raw');
    await output('cp', '--sparse=auto', mounted, copy);
    for (const file of [mounted, copy]) {
      const descriptor = openSync(file, 'r');
      for (const [offset, length, byte] of samples) {
        const bytes = Buffer.alloc(length, 0xff);
        expect(readSync(descriptor, bytes, 0, length, offset)).toBe(length);
        expect(
          bytes.every((read) => read === byte),
          `${file} at ${offset}`,
        ).toBe(true);
      }
      closeSync(descriptor);
    }
    expect((await stat(copy)).blocks * 512).toBeLessThan(2 ** 20);
    await rm(copy);
  });
});

describe('a chain with a file system in it', () => {
  let store: MountedStore;
  let reference: string;
  let disk: string;

  beforeAll(async () => {
    store = await MountedStore.make();
    const days = ['qemu-1700000000', 'qemu-1700086400'].map((day) => join(store.store, '100', day));
    const [first, second] = days;
    if (first === undefined || second === undefined) throw new Error('two days are needed');
    for (const day of days) await mkdir(day, { recursive: true });
    const content = join(store.folder, 'content');
    await mkdir(join(content, 'etc'), { recursive: true });
    await writeFile(join(content, 'etc', 'hostname'), 'guest-100\n');
    const plain = join(store.folder, 'plain.raw');
    await output('truncate', '-s', '48M', plain);
    await output('mkfs.ext4', '-q', '-d', content, plain);
    await qemuImg(
      store.folder,
      'convert',
      '-f',
      'raw',
      '-O',
      'qcow2',
      plain,
      join(first, 'drive-scsi0.qcow2'),
    );
    const base = '../qemu-1700000000/drive-scsi0.qcow2';
    await qemuImg(second, 'create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', base, 'drive-scsi0.qcow2');
    await qemuIo(second, 'drive-scsi0.qcow2', 'write -P 5 40M 100k', 'write -z 44M 1M');
    reference = join(store.folder, 'reference.raw');
    await qemuImg(second, 'convert', '-O', 'raw', 'drive-scsi0.qcow2', reference);
    await store.mount();
    disk = store.path('100', 'latest', 'disks', 'drive-scsi0.raw');
  });
  afterAll(() => store.remove());

  const expected = (): Promise<string> => sha256(reference);
  const copies: Array<[tool: string, copy: (to: string) => Promise<unknown>]> = [
    ['dd', (to) => output('dd', `if=${disk}`, `of=${to}`, 'bs=1M', 'status=none')],
    [
      'dd with O_DIRECT',
      (to) => output('dd', `if=${disk}`, `of=${to}`, 'bs=1M', 'iflag=direct', 'status=none'),
    ],
    ['cp --sparse=auto', (to) => output('cp', '--sparse=auto', disk, to)],
    ['qemu-img convert', (to) => output('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', disk, to)],
    ['rsync -aHAXS', (to) => output('rsync', '-aHAXS', disk, to)],
    [
      'tar --sparse',
      (to) =>
        output(
          'sh',
          '-c',
          'tar --sparse --acls --xattrs -C "$1" -cf - drive-scsi0.raw | tar -xOf - > "$2"',
          'sh',
          join(disk, '..'),
          to,
        ),
    ],
  ];

  it.each(copies)('%s gives back the same bytes', async (_tool, copy) => {
    const to = join(store.folder, 'copy.raw');
    await copy(to);
    expect(await sha256(to)).toBe(await expected());
    await rm(to);
  });

  it('cp and tar keep its holes', async () => {
    const to = join(store.folder, 'sparse.raw');
    await output('cp', '--sparse=auto', disk, to);
    expect((await stat(to)).blocks).toBeLessThanOrEqual((await stat(reference)).blocks + 64);
    await rm(to);
  });

  it('the kernel mounts the file system through a loop device', async () => {
    const loop = (await output('losetup', '--show', '-f', '-r', disk)).trim();
    const at = join(store.folder, 'ext4');
    try {
      await mkdir(at);
      await output('mount', '-t', 'ext4', '-o', 'ro,noload', loop, at);
      try {
        expect(await readFile(join(at, 'etc', 'hostname'), 'utf8')).toBe('guest-100\n');
      } finally {
        await output('umount', at);
      }
    } finally {
      await output('losetup', '-d', loop);
    }
  });

  it('ddrescue with the dirty map brings yesterday to today', async () => {
    const to = join(store.folder, 'yesterday.raw');
    await output('cp', store.path('100', time, 'disks', 'drive-scsi0.raw'), to);
    const map = store.path('100', 'latest', 'disks', 'drive-scsi0.dirty.map');
    await output('ddrescue', '-q', '--force', `--domain-mapfile=${map}`, disk, to, join(store.folder, 'log'));
    expect(await sha256(to)).toBe(await expected());
    await rm(to);
  });

  it('the changes alone, as a sparse archive, are applied by their map', async () => {
    const changed = store.path('100', 'latest', 'changes', 'drive-scsi0.changed');
    const { blocks, size } = await stat(changed);
    expect(size).toBe((await stat(disk)).size);
    // 100 KiB in clusters of 64 KiB, and 1 MiB of zeros: changed all the same.
    expect(blocks * 512).toBe(2 * 65536 + 2 ** 20);
  });

  it('is the same over the fuse-native transport', async () => {
    const other = await MountedStore.make();
    try {
      await output('cp', '-r', `${store.store}/.`, other.store);
      await other.mount('--transport', 'fuse-native');
      expect(await sha256(other.path('100', 'latest', 'disks', 'drive-scsi0.raw'))).toBe(await expected());
    } finally {
      await other.remove();
    }
  });

  it('a backup that appears or goes away while mounted is seen, and latest moves', async () => {
    const third = join(store.store, '100', 'qemu-1700172800');
    const { vi } = await import('vitest');
    const latest = async (): Promise<string> =>
      (await output('readlink', store.path('100', 'latest'))).trim();
    expect(await latest()).toBe('20231115T221320Z');
    await mkdir(third);
    await writeFile(join(third, 'guest.conf'), 'name: third\n');
    await vi.waitFor(async () => expect(await latest()).toBe('20231116T221320Z'), { timeout: 5000 });
    expect(await readFile(store.path('100', 'latest', 'guest.conf'), 'utf8')).toBe('name: third\n');
    await rm(third, { recursive: true });
    await vi.waitFor(async () => expect(await latest()).toBe('20231115T221320Z'), { timeout: 5000 });
  });

  it('kill -9 of the daemon, then mounting again, works', async () => {
    await store.end('SIGKILL');
    await expect(stat(disk)).rejects.toMatchObject({ code: 'ENOTCONN' });
    await store.mount();
    expect(await sha256(disk)).toBe(await expected());
  });
});

describe('disks in the formats of others', () => {
  const formats: Array<[extension: string, driver: string, options: string]> = [
    ['vmdk', 'vmdk', 'subformat=monolithicSparse'],
    ['vmdk', 'vmdk', 'subformat=streamOptimized'],
    ['vdi', 'vdi', ''],
    ['vhdx', 'vhdx', ''],
    ['vhd', 'vpc', 'subformat=dynamic,force_size=on'],
    ['vhd', 'vpc', 'subformat=fixed,force_size=on'],
  ];
  let store: MountedStore;
  let reference: string;

  beforeAll(async () => {
    store = await MountedStore.make();
    reference = join(store.folder, 'reference.raw');
    await qemuImg(store.folder, 'create', '-q', '-f', 'qcow2', 'made.qcow2', '6M');
    await qemuIo(store.folder, 'made.qcow2', ...writes(6 * 2 ** 20, 4711));
    await qemuImg(store.folder, 'convert', '-O', 'raw', 'made.qcow2', reference);
    for (const [place, [extension, driver, options]] of formats.entries()) {
      const folder = join(store.store, String(300 + place), backup);
      await mkdir(folder, { recursive: true });
      const given = options === '' ? [] : ['-o', options];
      await qemuImg(folder, 'convert', '-f', 'raw', '-O', driver, ...given, reference, `disk.${extension}`);
    }
    await store.mount();
  });
  afterAll(() => store.remove());

  it.each(
    formats.map((format, place) => [...format, place] as const),
  )('%s (%s %s) has the same bytes', async (_e, _d, _o, place) => {
    expect(await sha256(store.path(String(300 + place), time, 'disks', 'disk.raw'))).toBe(
      await sha256(reference),
    );
  });
});

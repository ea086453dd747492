import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Name } from '../../../../src/name.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { find, listAll, unhurried } from '../host-folder/walk.js';
import { BytesDisk } from './bytes-disk.js';
import { makeSquashfs, readSquashfs } from './images.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-squashfs-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Makes an image of what `fill` puts into a folder, and opens it. */
async function imageOf(
  fill: (tree: string) => unknown,
  ...options: string[]
): Promise<{ disk: BytesDisk; tree: Tree }> {
  const place = mkdtempSync(join(folder, 'image-'));
  const source = join(place, 'tree');
  const image = join(place, 'image');
  mkdirSync(source);
  try {
    await fill(source);
    await makeSquashfs(source, image, ...options);
    const disk = new BytesDisk(readFileSync(image));
    const { tree } = await readSquashfs(disk);
    return { disk, tree };
  } finally {
    rmSync(place, { recursive: true });
  }
}

async function opened(tree: Tree, ...path: string[]): Promise<number> {
  return (await tree.open((await find(tree, ...path)).inode, 'read', unhurried)).handle;
}

describe('a folder of 20 000 entries', () => {
  const nameOf = (each: number): string => `entry-${String(each * 7).padStart(6, '0')}`;
  let disk: BytesDisk;
  let tree: Tree;

  beforeAll(async () => {
    ({ disk, tree } = await imageOf((source) => {
      mkdirSync(join(source, 'large'));
      for (let each = 0; each < 20_000; each++) writeFileSync(join(source, 'large', nameOf(each)), '');
    }));
  });

  it('is listed whole, each entry once, also by two at a time and from any entry on', async () => {
    const { inode } = await find(tree, 'large');
    const [entries, again] = await Promise.all([listAll(tree, inode), listAll(tree, inode)]);
    expect(entries.map(({ name }) => name)).toEqual(
      Array.from({ length: 20_000 }, (_, each) => nameOf(each)),
    );
    expect(again.map(({ name }) => name)).toEqual(entries.map(({ name }) => name));
    const some = entries[12_345];
    const [next] = await tree.list(inode, some?.cookie ?? 0n, unhurried);
    expect(next?.name).toBe(nameOf(12_346));
  });

  it('has each name found by way of its index, reading a few blocks of it', async () => {
    const { tree: fresh } = await readSquashfs(disk);
    const { inode } = await find(fresh, 'large');
    await fresh.lookup(inode, nameOf(3) as Name, unhurried);
    const before = disk.reads.length;
    const { attributes } = await fresh.lookup(inode, nameOf(19_000) as Name, unhurried);
    expect(attributes?.type).toBe('file');
    // The listing has some forty blocks: the part with the name is in one or two, the inode in as many.
    expect(disk.reads.length - before).toBeLessThanOrEqual(4);
    for (const each of [0, 1, 255, 256, 257, 9_999, 19_999])
      expect((await fresh.lookup(inode, nameOf(each) as Name, unhurried)).attributes).toBeDefined();
  });

  it('has no names between, before or after those that it has', async () => {
    const { inode } = await find(tree, 'large');
    for (const name of ['entry-000001', 'entry-069999', 'a', 'z', 'entry', 'entry-139994', '\xff'])
      expect((await tree.lookup(inode, name as Name, unhurried)).attributes).toBeUndefined();
  });
});

describe('the data of an image', () => {
  /** Its 9600 blocks are listed in several pieces. */
  const holeBytes = 600 << 20;
  const text = Buffer.from('sequence '.repeat(100_000));
  let disk: BytesDisk;
  let tree: Tree;

  beforeAll(async () => {
    ({ disk, tree } = await imageOf(
      async (source) => {
        writeFileSync(join(source, 'file'), text.subarray(0, 800_000));
        mkdirSync(join(source, 'small'));
        for (let each = 0; each < 50; each++)
          writeFileSync(join(source, 'small', `${each}`), `small file ${each}\n`.repeat(20));
        const sparse = await open(join(source, 'sparse'), 'w');
        await sparse.truncate(1_000_000);
        await sparse.write('data', 300_000);
        await sparse.write('more', 700_000);
        await sparse.close();
        writeFileSync(join(source, 'hole'), '');
        truncateSync(join(source, 'hole'), holeBytes);
      },
      '-b',
      '64K',
      '-processors',
      '2',
    ));
  }, 120_000);

  it('is unpacked once for small reads one after the other', async () => {
    const handle = await opened(tree, 'file');
    disk.reads.length = 0;
    const target = Buffer.alloc(1000);
    for (let at = 0; at < 800_000; at += 1000) {
      await tree.read(handle, at, target, unhurried);
      expect(target.equals(text.subarray(at, at + 1000))).toBe(true);
    }
    // 12 blocks and the fragment; what the fragment's place is listed in.
    expect(disk.reads.length).toBeLessThanOrEqual(16);
    await tree.release(handle);
  });

  it('is read and unpacked once for all who want the same block at a time', async () => {
    const { tree: fresh } = await readSquashfs(disk);
    const handle = await opened(fresh, 'file');
    await fresh.read(handle, 200_000, Buffer.alloc(1), unhurried);
    disk.reads.length = 0;
    const targets = Array.from({ length: 20 }, () => Buffer.alloc(500));
    await Promise.all(targets.map((target, each) => fresh.read(handle, each * 500, target, unhurried)));
    expect(Buffer.concat(targets).equals(text.subarray(0, 10_000))).toBe(true);
    expect(disk.reads.length).toBe(1);
  });

  it('of small files that share a fragment is read once for all of them', async () => {
    const { tree: fresh } = await readSquashfs(disk);
    await opened(fresh, 'small', '0');
    disk.reads.length = 0;
    for (let each = 0; each < 50; each++) {
      const handle = await opened(fresh, 'small', `${each}`);
      const target = Buffer.alloc(1000);
      const length = await fresh.read(handle, 0, target, unhurried);
      expect(`${target.subarray(0, length)}`).toBe(`small file ${each}\n`.repeat(20));
      await fresh.release(handle);
    }
    expect(disk.reads.length).toBeLessThanOrEqual(4);
  });

  it('has holes where the file had whole blocks of them, and takes up no room there', async () => {
    const sparse = await find(tree, 'sparse');
    const { handle } = await tree.open(sparse.inode, 'read', unhurried);
    const edges: number[] = [];
    for (let at = 0; at < sparse.size; ) {
      const data = await tree.seek?.(handle, at, 'data', unhurried).catch(() => undefined);
      if (data === undefined) break;
      at = (await tree.seek?.(handle, data, 'hole', unhurried)) ?? sparse.size;
      edges.push(data / 65_536, at / 65_536);
    }
    // Data at 300 000 and 700 000.
    expect(edges).toEqual([4, 5, 10, 11]);
    expect(sparse.allocated).toBeLessThan(4 * 65_536);
    const all = Buffer.alloc(1_000_000);
    expect(await tree.read(handle, 0, all, unhurried)).toBe(1_000_000);
    const expected = Buffer.alloc(1_000_000);
    expected.write('data', 300_000);
    expected.write('more', 700_000);
    expect(all.equals(expected)).toBe(true);
  });

  it('of a large file of nothing is a hole from any place on', async () => {
    const hole = await find(tree, 'hole');
    // mksquashfs leaves a byte of a file that is nothing but a hole.
    expect([hole.size, hole.allocated]).toEqual([holeBytes, 1]);
    const { handle } = await tree.open(hole.inode, 'read', unhurried);
    await expect(tree.seek?.(handle, 5, 'data', unhurried)).rejects.toMatchObject({ code: 'ENXIO' });
    expect(await tree.seek?.(handle, holeBytes / 2 + 7, 'hole', unhurried)).toBe(holeBytes / 2 + 7);
    const target = Buffer.alloc(1000, 1);
    expect(await tree.read(handle, holeBytes - 500, target, unhurried)).toBe(500);
    expect(target.subarray(0, 500).equals(Buffer.alloc(500))).toBe(true);
  });

  it('is not waited for any longer by who has left, and still comes for who stays', async () => {
    const { tree: fresh } = await readSquashfs(disk);
    const handle = await opened(fresh, 'file');
    await fresh.read(handle, 200_000, Buffer.alloc(1), unhurried);
    let go = (): void => undefined;
    disk.before = () => new Promise<void>((resolve) => (go = resolve));
    const leaving = new AbortController();
    const left = fresh.read(handle, 0, Buffer.alloc(10), leaving.signal);
    const target = Buffer.alloc(10);
    const stayed = fresh.read(handle, 0, target, unhurried);
    leaving.abort(new Error('interrupted'));
    await expect(left).rejects.toThrow('interrupted');
    disk.before = undefined;
    go();
    expect(await stayed).toBe(10);
    expect(`${target}`).toBe('sequence s');
  });
});

describe('the tree of an image', () => {
  it.each([[[]], [['-no-exports']]])('finds the folder above a folder, made with %j', async (options) => {
    const { disk, tree } = await imageOf(
      (source) => mkdirSync(join(source, 'a', 'b', 'c'), { recursive: true }),
      ...options,
    );
    const [a, b, c] = [await find(tree, 'a'), await find(tree, 'a', 'b'), await find(tree, 'a', 'b', 'c')];
    const above = async (of: Tree, inode: bigint): Promise<bigint | undefined> =>
      (await of.lookup(inode, '..' as Name, unhurried)).attributes?.inode;
    expect([await above(tree, c.inode), await above(tree, b.inode)]).toEqual([b.inode, a.inode]);
    expect([await above(tree, a.inode), await above(tree, tree.root)]).toEqual([tree.root, tree.root]);
    expect(tree.root).toBe(1n);
    // A tree that was opened anew has seen none of them.
    const { tree: fresh } = await readSquashfs(disk);
    if (options.length === 0) expect(await above(fresh, c.inode)).toBe(b.inode);
    else await expect(above(fresh, c.inode)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('opens files alone, for reading alone', async () => {
    const { tree } = await imageOf((source) => {
      writeFileSync(join(source, 'file'), 'x');
      symlinkSync('file', join(source, 'link'));
      execFileSync('mkfifo', [join(source, 'fifo')]);
    });
    const inode = async (name: string): Promise<bigint> => (await find(tree, name)).inode;
    await expect(tree.open(await inode('file'), 'write', unhurried)).rejects.toMatchObject({ code: 'EROFS' });
    await expect(tree.open(tree.root, 'read', unhurried)).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(tree.open(await inode('link'), 'read', unhurried)).rejects.toMatchObject({ code: 'ELOOP' });
    await expect(tree.open(await inode('fifo'), 'read', unhurried)).rejects.toMatchObject({ code: 'ENXIO' });
    await expect(tree.readlink(await inode('file'), unhurried)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(tree.list(await inode('file'), 0n, unhurried)).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(tree.attributes(2n ** 42n, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
    const long = 'n'.repeat(256) as Name;
    await expect(tree.lookup(tree.root, long, unhurried)).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
  });

  it('closes its image, and is gone then', async () => {
    const { disk, tree } = await imageOf((source) => writeFileSync(join(source, 'file'), 'x'));
    await tree.close();
    expect(disk.closed).toBe(true);
    await expect(tree.attributes(tree.root, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
  });
});

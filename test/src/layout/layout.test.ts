import { once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { StillError } from '../../../src/errors.js';
import { openLayout } from '../../../src/layout/layout.js';
import { silent } from '../../../src/log.js';
import { nameFromText, nameToText } from '../../../src/name.js';
import type { Change, Tree } from '../../../src/tree/tree.js';
import { MemoryDisk, MemoryStore, storedDisk } from './memory-store.js';
import { bytesAt, dataAt, entriesAt, find, inodeAt, linkAt, namesAt, textAt, unending } from './walk.js';

const noon = 1_731_491_839; // 2024-11-13T09:57:19Z
const trees: Tree[] = [];

function layoutOf(...stores: MemoryStore[]): Tree {
  const tree = openLayout({ stores, log: silent });
  trees.push(tree);
  return tree;
}

afterEach(async () => {
  vi.useRealTimers();
  for (const tree of trees.splice(0)) await tree.close();
});

const someDisk = (): MemoryDisk =>
  new MemoryDisk([
    { length: 65_536, zero: false, dirty: true },
    { length: 65_536, zero: false, dirty: false },
    { length: 131_072, zero: true, dirty: false },
    { length: 65_536, zero: true, dirty: true },
    { length: 1000, zero: false, dirty: true },
  ]);

describe('the folders', () => {
  it('show stores, guests, and backups by time, with a link to the latest', async () => {
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon);
    store.add('100', '20241114T095719Z', noon + 86_400);
    const tree = layoutOf(store, new MemoryStore('empty'));
    expect(await namesAt(tree, '')).toEqual(['backups']);
    expect(await namesAt(tree, 'backups')).toEqual(['empty', 'nas']);
    expect(await namesAt(tree, 'backups/empty')).toEqual([]);
    expect(await namesAt(tree, 'backups/nas')).toEqual(['100']);
    expect(await namesAt(tree, 'backups/nas/100')).toEqual([
      '20241113T095719Z',
      '20241114T095719Z',
      'latest',
    ]);
    expect(await linkAt(tree, 'backups/nas/100/latest')).toBe('20241114T095719Z');
    expect(await find(tree, 'backups/nas/101')).toBeUndefined();
    expect(await find(tree, 'backups/nas/100/20241115T095719Z')).toBeUndefined();
  });

  it('find a backup by the extended form of its time, which is not listed', async () => {
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon);
    const tree = layoutOf(store);
    expect(await linkAt(tree, 'backups/nas/100/2024-11-13T09:57:19Z')).toBe('20241113T095719Z');
    expect(await find(tree, 'backups/nas/100/2024-11-13T09:57:18Z')).toBeUndefined();
  });

  it('hide none of two backups of one second', async () => {
    const store = new MemoryStore('nas');
    store.add('100', '20241113T095719Z', noon);
    store.add('100', 'lxc-1731491839', noon);
    const tree = layoutOf(store);
    expect(await namesAt(tree, 'backups/nas/100')).toEqual([
      '20241113T095719Z',
      '20241113T095719Z-lxc-1731491839',
      'latest',
    ]);
  });

  it('keep guests of one name in two stores apart', async () => {
    const [one, two] = [new MemoryStore('one'), new MemoryStore('two')];
    one.add('100', 'qemu-1731491839', noon, { problems: ['in one'] });
    two.add('100', 'qemu-1731491839', noon, { problems: ['in two'] });
    const tree = layoutOf(one, two);
    expect(await textAt(tree, 'backups/one/100/20241113T095719Z/PROBLEM.txt')).toBe('in one\n');
    expect(await textAt(tree, 'backups/two/100/20241113T095719Z/PROBLEM.txt')).toBe('in two\n');
    const inodes = await Promise.all(['one', 'two'].map((name) => inodeAt(tree, `backups/${name}/100`)));
    expect(inodes[0]).not.toBe(inodes[1]);
  });

  it('keep others out unless they are let in', async () => {
    const closed = layoutOf(new MemoryStore('nas'));
    expect(await find(closed, 'backups')).toMatchObject({ permissions: 0o700, uid: process.geteuid?.() });
    const open = openLayout({ stores: [new MemoryStore('nas')], log: silent, openToOthers: true });
    trees.push(open);
    expect(await find(open, 'backups')).toMatchObject({ permissions: 0o755 });
  });

  it('list 10 000 backups, each once, in the order of time, without opening one', async () => {
    const store = new MemoryStore('nas');
    for (let day = 0; day < 10_000; day++) store.add('100', `qemu-${day * 86_400}`, day * 86_400);
    const tree = layoutOf(store);
    const names = (await entriesAt(tree, 'backups/nas/100')).map(({ name }) => nameToText(name));
    expect(names).toHaveLength(10_001);
    expect(names.slice(0, 3)).toEqual(['latest', '19700101T000000Z', '19700102T000000Z']);
    expect([...names.slice(1)].sort()).toEqual(names.slice(1));
    await find(tree, 'backups/nas/100/19700102T000000Z');
    expect(store.opened).toBe(0);
  });

  it('give an entry that stays exactly once while others come and go', async () => {
    const store = new MemoryStore('nas');
    for (let day = 0; day < 2000; day++) store.add('100', `qemu-${day * 86_400}`, day * 86_400);
    const tree = layoutOf(store);
    const folder = await inodeAt(tree, 'backups/nas/100');
    const first = await tree.list(folder, 0n, unending);
    for (let day = 0; day < 300; day++) store.remove('100', `qemu-${day * 86_400}`);
    const seen = first.map(({ name }) => nameToText(name));
    for (let after = first.at(-1)?.cookie ?? 0n; ; ) {
      const some = await tree.list(folder, after, unending);
      const last = some.at(-1);
      if (!last) break;
      seen.push(...some.map(({ name }) => nameToText(name)));
      after = last.cookie;
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toHaveLength(2001);
  });
});

describe('inode numbers', () => {
  it('are the same in the next mount, and those of the listing', async () => {
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon, { disks: [storedDisk('vda', async () => someDisk())] });
    const paths = ['backups/nas', 'backups/nas/100', 'backups/nas/100/20241113T095719Z/disks/vda.raw'];
    const numbers = async (tree: Tree): Promise<bigint[]> =>
      Promise.all(paths.map((path) => inodeAt(tree, path)));
    const today = layoutOf(store);
    const tomorrow = layoutOf(store);
    await find(tomorrow, 'backups/nas/100/latest'); // another order of look-ups
    expect(await numbers(tomorrow)).toEqual(await numbers(today));
    const listed = await entriesAt(today, 'backups/nas/100/20241113T095719Z/disks');
    const raw = listed.find(({ name }) => nameToText(name) === 'vda.raw');
    expect(raw?.inode).toBe((await numbers(today))[2]);
    expect(today.root).toBe(1n);
    expect((await numbers(today)).every((inode) => inode > 1n && inode < 1n << 43n)).toBe(true);
  });

  it('still lead to what was forgotten', async () => {
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon);
    const tree = layoutOf(store);
    const guest = await inodeAt(tree, 'backups/nas/100');
    tree.forget?.(guest);
    expect((await tree.attributes(guest, unending)).type).toBe('directory');
    await expect(tree.attributes(12_345n, unending)).rejects.toMatchObject({ code: 'ESTALE' });
  });
});

describe('what is opened', () => {
  const path = 'backups/nas/100/20241113T095719Z';

  it('is no disk for listings, and one disk once for all its views', async () => {
    const store = new MemoryStore('nas');
    const disk = storedDisk('vda', async () => someDisk());
    store.add('100', 'qemu-1731491839', noon, { disks: [disk] });
    const tree = layoutOf(store);
    expect(await namesAt(tree, path)).toEqual(['changes', 'disks', 'files', 'rootfs', 'volumes.json']);
    expect(await namesAt(tree, `${path}/disks`)).toEqual(['vda.dirty.json', 'vda.dirty.map', 'vda.raw']);
    expect(await namesAt(tree, `${path}/changes`)).toEqual(['vda.changed']);
    expect(disk.opens).toBe(0);
    const views = ['disks/vda.raw', 'disks/vda.dirty.json', 'disks/vda.dirty.map', 'changes/vda.changed'];
    await Promise.all(views.map((view) => bytesAt(tree, `${path}/${view}`)));
    expect(disk.opens).toBe(1);
  });

  it('is walked once for all sizes', async () => {
    const memory = someDisk();
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon, { disks: [storedDisk('vda', async () => memory)] });
    const tree = layoutOf(store);
    await Promise.all([find(tree, `${path}/disks/vda.raw`), find(tree, `${path}/changes/vda.changed`)]);
    await find(tree, `${path}/disks/vda.dirty.json`);
    expect(memory.walked).toBe(1);
  });

  it('is closed with the tree, and whoever reads then gets an error', async () => {
    const memory = someDisk();
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon, { disks: [storedDisk('vda', async () => memory)] });
    const tree = openLayout({ stores: [store], log: silent });
    const { handle } = await tree.open(await inodeAt(tree, `${path}/disks/vda.raw`), 'read', unending);
    await tree.close();
    expect(memory.closed).toBe(true);
    await expect(async () => tree.read(handle, 0, new Uint8Array(1), unending)).rejects.toThrow();
  });

  it('goes on for the others when one stops waiting, and is ended when all have', async () => {
    const store = new MemoryStore('nas');
    let finish: () => void = () => undefined;
    const signals: AbortSignal[] = [];
    const disk = storedDisk('vda', (signal) => {
      signals.push(signal);
      return new Promise((resolve, reject) => {
        finish = () => resolve(someDisk());
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    });
    store.add('100', 'qemu-1731491839', noon, { disks: [disk] });
    const tree = layoutOf(store);
    const folder = await inodeAt(tree, `${path}/disks`);
    const look = (signal: AbortSignal) => tree.lookup(folder, nameFromText('vda.raw'), signal);
    const begun = async (count: number): Promise<void> => {
      while (disk.opens < count) await new Promise(setImmediate);
    };

    const [first, second] = [new AbortController(), new AbortController()];
    const [leaving, staying] = [look(first.signal), look(second.signal)];
    await begun(1);
    first.abort();
    await expect(leaving).rejects.toMatchObject({ name: 'AbortError' });
    expect(signals[0]?.aborted).toBe(false);
    second.abort();
    await expect(staying).rejects.toMatchObject({ name: 'AbortError' });
    expect(signals[0]?.aborted).toBe(true);

    const again = look(unending);
    await begun(2);
    finish();
    expect((await again).attributes?.size).toBe(someDisk().size);
  });
});

describe('a disk that can not be opened', () => {
  const path = 'backups/nas/100/20241113T095719Z';

  function storeWithBadDisk(): MemoryStore {
    const store = new MemoryStore('nas');
    const bad = storedDisk('bad', async () => {
      throw new StillError('EINVAL', 'the header is nonsense');
    });
    store.add('100', 'qemu-1731491839', noon, { disks: [bad, storedDisk('good', async () => someDisk())] });
    return store;
  }

  it('is listed, is EIO and never empty, and does not trouble its neighbours', async () => {
    const tree = layoutOf(storeWithBadDisk());
    expect(await namesAt(tree, `${path}/disks`)).toContain('bad.raw');
    for (const view of [
      'disks/bad.raw',
      'disks/bad.dirty.json',
      'disks/bad.dirty.map',
      'changes/bad.changed',
    ]) {
      await expect(find(tree, `${path}/${view}`)).rejects.toMatchObject({ code: 'EIO' });
    }
    expect((await bytesAt(tree, `${path}/disks/good.raw`)).length).toBe(someDisk().size);
  });

  it('has its reason in PROBLEM.txt from then on, and the kernel is told', async () => {
    const tree = layoutOf(storeWithBadDisk());
    const changes: Change[] = [];
    tree.watch?.((change) => changes.push(change));
    const backup = await inodeAt(tree, path);
    expect(await find(tree, `${path}/PROBLEM.txt`)).toBeUndefined();
    await find(tree, `${path}/disks/bad.raw`).catch(() => undefined);
    const text = await textAt(tree, `${path}/PROBLEM.txt`);
    expect(text).toBe("disks/bad.raw can't be read: the header is nonsense\n");
    expect((await find(tree, `${path}/PROBLEM.txt`))?.size).toBe(Buffer.byteLength(text));
    expect(changes).toContainEqual({ kind: 'entry', folder: backup, name: 'PROBLEM.txt' });
  });

  it('is no problem of the backup when this machine is short of descriptors', async () => {
    const store = new MemoryStore('nas');
    let short = true;
    const disk = storedDisk('vda', async () => {
      if (short) throw new StillError('EMFILE', 'too many open files');
      return someDisk();
    });
    store.add('100', 'qemu-1731491839', noon, { disks: [disk] });
    const tree = layoutOf(store);
    await expect(find(tree, `${path}/disks/vda.raw`)).rejects.toMatchObject({ code: 'EMFILE' });
    short = false;
    expect((await find(tree, `${path}/disks/vda.raw`))?.size).toBe(someDisk().size);
    expect(await find(tree, `${path}/PROBLEM.txt`)).toBeUndefined();
  });
});

describe('the views of a disk', () => {
  const path = 'backups/nas/100/20241113T095719Z';

  function tree(disk = someDisk()): Tree {
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon, { disks: [storedDisk('vda', async () => disk)] });
    return layoutOf(store);
  }

  it('.raw: the whole disk, with holes only where it is zero', async () => {
    const layout = tree();
    const attributes = await find(layout, `${path}/disks/vda.raw`);
    expect(attributes).toMatchObject({
      type: 'file',
      permissions: 0o400,
      size: 328_680,
      allocated: 132_072,
      modified: { seconds: noon, nanoseconds: 0 },
      freshSeconds: Infinity,
    });
    const bytes = await bytesAt(layout, `${path}/disks/vda.raw`);
    expect(bytes.subarray(0, 131_072).every((byte) => byte === 0xaa)).toBe(true);
    expect(bytes.subarray(131_072, 327_680).every((byte) => byte === 0)).toBe(true);
    expect(bytes.length).toBe(328_680);
    expect(await dataAt(layout, `${path}/disks/vda.raw`)).toEqual([
      [0, 131_072],
      [327_680, 328_680],
    ]);
  });

  it('.changed: the dirty ranges are data, zeros too, and all else is a hole', async () => {
    const layout = tree();
    expect(await find(layout, `${path}/changes/vda.changed`)).toMatchObject({
      size: 328_680,
      allocated: 132_072,
    });
    expect(await dataAt(layout, `${path}/changes/vda.changed`)).toEqual([
      [0, 65_536],
      [262_144, 328_680],
    ]);
    const bytes = await bytesAt(layout, `${path}/changes/vda.changed`);
    expect(bytes.subarray(0, 65_536).every((byte) => byte === 0xaa)).toBe(true);
    expect(bytes.subarray(65_536, 327_680).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(327_680).every((byte) => byte === 0xaa)).toBe(true);
  });

  it('seek ends with ENXIO past the end and after the last data', async () => {
    const layout = tree(
      new MemoryDisk([
        { length: 4096, zero: false, dirty: true },
        { length: 4096, zero: true, dirty: true },
      ]),
    );
    const { handle } = await layout.open(await inodeAt(layout, `${path}/disks/vda.raw`), 'read', unending);
    await expect(layout.seek?.(handle, 8192, 'hole', unending)).rejects.toMatchObject({ code: 'ENXIO' });
    await expect(layout.seek?.(handle, 5000, 'data', unending)).rejects.toMatchObject({ code: 'ENXIO' });
    expect(await layout.seek?.(handle, 5000, 'hole', unending)).toBe(5000);
    expect(await layout.seek?.(handle, 100, 'data', unending)).toBe(100);
    await layout.release(handle);
  });

  it('are never written to', async () => {
    const layout = tree();
    const raw = await inodeAt(layout, `${path}/disks/vda.raw`);
    await expect(layout.open(raw, 'read-write', unending)).rejects.toMatchObject({ code: 'EROFS' });
    await expect(layout.open(1n, 'read', unending)).rejects.toMatchObject({ code: 'EISDIR' });
  });
});

describe('a change in a store', () => {
  it('is told to the kernel: the new name, latest, and the folder', async () => {
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon);
    const tree = layoutOf(store);
    const guest = await inodeAt(tree, 'backups/nas/100');
    await namesAt(tree, 'backups/nas/100');
    const told = new EventTarget();
    const changes: Change[] = [];
    tree.watch?.((change) => {
      changes.push(change);
      if (change.kind === 'inode') told.dispatchEvent(new Event('done'));
    });
    store.add('100', 'qemu-1731578239', noon + 86_400);
    const done = once(told, 'done');
    store.tell('100');
    await done;
    expect(changes).toEqual([
      { kind: 'entry', folder: guest, name: '20241114T095719Z' },
      { kind: 'entry', folder: guest, name: 'latest' },
      { kind: 'inode', inode: guest },
    ]);
    expect(await linkAt(tree, 'backups/nas/100/latest')).toBe('20241114T095719Z');
  });

  it('in a backup that was looked into is seen, and told for everything known of it', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const store = new MemoryStore('nas');
    const old = new MemoryDisk([{ length: 512, zero: false, dirty: true }]);
    const grown = new MemoryDisk([{ length: 1024, zero: false, dirty: true }]);
    let disk = old;
    store.add('100', 'qemu-1731491839', noon, { disks: [storedDisk('vda', async () => disk)] });
    const tree = layoutOf(store);
    const raw = 'backups/nas/100/20241113T095719Z/disks/vda.raw';
    const before = await find(tree, raw);
    const changes: Change[] = [];
    tree.watch?.((change) => changes.push(change));
    disk = grown;
    store.version = 'two';
    vi.advanceTimersByTime(1001);
    expect((await find(tree, raw))?.size).toBe(1024);
    expect(before?.size).toBe(512);
    expect(changes).toContainEqual({ kind: 'inode', inode: before?.inode });
  });

  it('that takes a backup away leaves its size to whoever has a disk of it open', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const store = new MemoryStore('nas');
    store.add('100', 'qemu-1731491839', noon, { disks: [storedDisk('vda', async () => someDisk())] });
    const tree = layoutOf(store);
    const raw = await inodeAt(tree, 'backups/nas/100/20241113T095719Z/disks/vda.raw');
    const { handle } = await tree.open(raw, 'read', unending);
    const before = await tree.attributes(raw, unending);
    store.remove('100', 'qemu-1731491839');
    vi.advanceTimersByTime(61_001);
    expect(await tree.attributes(raw, unending)).toEqual(before);
    await tree.release(handle);
    await expect(tree.attributes(raw, unending)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

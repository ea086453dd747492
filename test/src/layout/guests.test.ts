import { posix } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { StillError } from '../../../src/errors.js';
import { openLayout } from '../../../src/layout/layout.js';
import { silent } from '../../../src/log.js';
import { nameFromText } from '../../../src/name.js';
import type { Attributes } from '../../../src/tree/attributes.js';
import type { Change, Tree } from '../../../src/tree/tree.js';
import {
  GivenBackDisk,
  MemoryGuest,
  type MemorySnapshot,
  someSnapshotDisk,
  textFile,
} from './memory-guest.js';
import { MemoryStore } from './memory-store.js';
import { bytesAt, dataAt, find, inodeAt, namesAt, textAt, unending } from './walk.js';

const trees: Tree[] = [];

function layoutOf(...guests: MemoryGuest[]): Tree {
  const tree = openLayout({ stores: [], guests, log: silent });
  trees.push(tree);
  return tree;
}

afterEach(async () => {
  vi.useRealTimers();
  for (const tree of trees.splice(0)) await tree.close();
});

const snapshots = 'guests/100/snapshots';
const full = `${snapshots}/full`;
const raw = `${full}/disks/drive-scsi0.raw`;

async function mkdir(tree: Tree, path: string, signal = unending): Promise<Attributes> {
  const { mkdir: make } = tree;
  if (!make) throw new Error('the tree makes no folders');
  const { dir, base } = posix.parse(path);
  return (await make.call(tree, await inodeAt(tree, dir), nameFromText(base), 0o755, signal)).attributes;
}

async function rmdir(tree: Tree, path: string, signal = unending): Promise<void> {
  const { dir, base } = posix.parse(path);
  await tree.rmdir?.(await inodeAt(tree, dir), nameFromText(base), signal);
}

/** Writes as a shell does: cuts the file, then writes once. */
async function write(tree: Tree, path: string, text: string, offset = 0): Promise<void> {
  const inode = await inodeAt(tree, path);
  const { handle } = await tree.open(inode, 'write', unending);
  try {
    await tree.truncate?.(inode, 0, unending);
    await tree.write?.(handle, offset, Buffer.from(text), unending);
  } finally {
    await tree.release(handle);
  }
}

/** A tree with one guest of which one snapshot, `full`, is taken. */
async function taken(guest = new MemoryGuest('100')): Promise<{
  tree: Tree;
  guest: MemoryGuest;
  snapshot: MemorySnapshot;
}> {
  const tree = layoutOf(guest);
  await mkdir(tree, full);
  const [snapshot] = guest.snapshots;
  if (!snapshot) throw new Error('nothing was taken');
  return { tree, guest, snapshot };
}

function changesOf(tree: Tree): Change[] {
  const changes: Change[] = [];
  tree.watch?.((change) => changes.push(change));
  return changes;
}

describe('guests/', () => {
  it('stands beside backups/, each only where there is something to show', async () => {
    const guests = [new MemoryGuest('100')];
    const both = openLayout({ stores: [new MemoryStore('nas')], guests, log: silent });
    trees.push(both);
    expect(await namesAt(both, '')).toEqual(['backups', 'guests']);
    expect(await namesAt(layoutOf(...guests), '')).toEqual(['guests']);
  });

  it('keeps others out unless they are let in', async () => {
    const guests = [new MemoryGuest('100')];
    expect(await find(layoutOf(...guests), 'guests')).toMatchObject({ permissions: 0o700 });
    const open = openLayout({ stores: [], guests, log: silent, openToOthers: true });
    trees.push(open);
    expect(await find(open, 'guests')).toMatchObject({ permissions: 0o755 });
  });

  it("shows a guest's configuration, the firewall's where there is one, what is known, and its snapshots", async () => {
    const guest = new MemoryGuest('100');
    const other = new MemoryGuest('101');
    other.files.push(textFile('firewall.conf', '[OPTIONS]\n'));
    const tree = layoutOf(guest, other);
    expect(await namesAt(tree, 'guests/100')).toEqual(['guest.conf', 'guest.json', 'snapshots']);
    expect(await namesAt(tree, 'guests/101')).toEqual([
      'firewall.conf',
      'guest.conf',
      'guest.json',
      'snapshots',
    ]);
    expect(await textAt(tree, 'guests/100/guest.conf')).toBe('cores: 2\n');
    expect(await find(tree, 'guests/100/guest.conf')).toMatchObject({
      size: 9,
      permissions: 0o400,
      modified: { seconds: 1_700_000_000 },
    });
    expect(await find(tree, 'guests/100/firewall.conf')).toBeUndefined();
    expect(await textAt(tree, 'guests/100/guest.json')).toBe(
      `${JSON.stringify(guest.description, undefined, 2)}\n`,
    );
  });

  it('tells of a guest what is so now, in one piece, and of the size that was told', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const guest = new MemoryGuest('100');
    const tree = layoutOf(guest);
    const path = 'guests/100/guest.json';
    const before = await find(tree, path);
    expect(before?.freshSeconds).toBeLessThanOrEqual(1);
    guest.description = { ...guest.description, state: 'unknown', reason: 'it does not answer' };
    // Who has asked for the size reads what had that size.
    expect((await textAt(tree, path)).length).toBe(before?.size);

    const { handle, size, cache } = await tree.open(before?.inode ?? 0n, 'read', unending);
    vi.advanceTimersByTime(1001);
    expect(JSON.parse(await textAt(tree, path))).toMatchObject({ state: 'unknown' });
    expect((await find(tree, path))?.size).toBeGreaterThan(size ?? Infinity);
    const target = Buffer.alloc(4096);
    expect(await tree.read(handle, 0, target, unending)).toBe(size);
    expect(JSON.parse(target.toString('utf8', 0, size))).toMatchObject({ state: 'running' });
    expect(cache).toBe('direct');
  });

  it('is not held up by a guest that never answers', async () => {
    const silentGuest = new MemoryGuest('100');
    silentGuest.answering = (signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const tree = layoutOf(silentGuest, new MemoryGuest('101'));
    const waiting = new AbortController();
    const stat = find(tree, 'guests/100/guest.json', waiting.signal);
    expect(await namesAt(tree, 'guests')).toEqual(['100', '101']);
    expect(await textAt(tree, 'guests/101/guest.json')).toContain('running');
    await mkdir(tree, full);
    expect(await textAt(tree, `${full}/outcome`)).toBe('pending\n');
    waiting.abort();
    await expect(stat).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('lists a configuration that can not be read, and says so when it is looked at', async () => {
    const guest = new MemoryGuest('100');
    guest.answering = async () => {
      throw new StillError('EIO', 'the folder of configurations is gone');
    };
    const tree = layoutOf(guest);
    expect(await namesAt(tree, 'guests/100')).toEqual(['guest.conf', 'guest.json', 'snapshots']);
    await expect(find(tree, 'guests/100/guest.conf')).rejects.toMatchObject({ code: 'EIO' });
  });
});

describe('mkdir in snapshots/', () => {
  it('takes a snapshot, whose folder is there when it returns', async () => {
    const guest = new MemoryGuest('100');
    guest.files.push(textFile('firewall.conf', '[OPTIONS]\n'));
    const tree = layoutOf(guest);
    expect(await namesAt(tree, snapshots)).toEqual([]);
    const made = await mkdir(tree, `${snapshots}/daily@monday`);
    expect(guest.snapshots[0]?.name).toEqual({ folder: 'daily@monday', chain: 'daily', name: 'monday' });
    expect(await namesAt(tree, snapshots)).toEqual(['daily@monday']);
    const folder = await find(tree, `${snapshots}/daily@monday`);
    expect(folder).toMatchObject({ inode: made.inode, modified: guest.snapshots[0]?.time });
    expect(await namesAt(tree, `${snapshots}/daily@monday`)).toEqual([
      'changes',
      'disks',
      'firewall.conf',
      'guest.conf',
      'outcome',
      'snapshot.json',
    ]);
    expect((await find(tree, snapshots))?.links).toBe(3);
  });

  it.each([
    'a@b@c',
    '-x',
    '.hidden',
    'a b',
    '@a',
    'a@',
    'a'.repeat(64),
    'Ümlaut',
  ])('refuses the name "%s" before the guest is asked', async (name) => {
    const guest = new MemoryGuest('100');
    const tree = layoutOf(guest);
    await expect(mkdir(tree, `${snapshots}/${name}`)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(guest.snapshots).toEqual([]);
  });

  it('fails as the guest fails, and leaves nothing', async () => {
    const guest = new MemoryGuest('100');
    guest.taking = async () => {
      throw new StillError('ETIMEDOUT', 'the guest would not freeze');
    };
    const tree = layoutOf(guest);
    await expect(mkdir(tree, full)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    expect(await find(tree, full)).toBeUndefined();
  });

  it('is undone when whoever asked has left before it was taken', async () => {
    const guest = new MemoryGuest('100');
    const leaving = new AbortController();
    guest.taking = async () => leaving.abort();
    const tree = layoutOf(guest);
    await expect(mkdir(tree, full, leaving.signal)).rejects.toMatchObject({ name: 'AbortError' });
    expect(guest.snapshots).toEqual([]);
    expect(await find(tree, full)).toBeUndefined();
  });

  it('is refused everywhere else, and so is rmdir', async () => {
    const { tree } = await taken();
    for (const path of ['x', 'guests/x', 'guests/100/x', `${full}/x`, `${full}/disks/x`]) {
      await expect(mkdir(tree, path)).rejects.toMatchObject({ code: 'EROFS' });
    }
    for (const path of ['guests', 'guests/100', snapshots, `${full}/disks`, `${full}/changes`]) {
      await expect(rmdir(tree, path)).rejects.toMatchObject({ code: 'EROFS' });
    }
    await expect(rmdir(tree, `${snapshots}/other`)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('rmdir of a snapshot', () => {
  it('ends it though it has entries and files are open, whose reads fail from then on', async () => {
    const { tree, snapshot, guest } = await taken();
    const paths = [raw, `${full}/disks/drive-scsi0.dirty.map`, `${full}/changes/drive-scsi0.changed`];
    const target = Buffer.alloc(512);
    const handles: number[] = [];
    for (const path of [...paths, `${full}/snapshot.json`]) {
      const { handle } = await tree.open(await inodeAt(tree, path), 'read', unending);
      expect(await tree.read(handle, 0, target, unending)).toBeGreaterThan(0);
      handles.push(handle);
    }
    const rawInode = await inodeAt(tree, raw);
    const jsonInode = await inodeAt(tree, `${full}/snapshot.json`);
    const folder = await inodeAt(tree, full);
    await rmdir(tree, full);
    expect(snapshot.ends).toBe(1);
    expect(await find(tree, full)).toBeUndefined();
    for (const handle of handles) {
      await expect(tree.read(handle, 0, target, unending)).rejects.toMatchObject({ code: 'EIO' });
      await expect(tree.seek?.(handle, 0, 'data', unending)).rejects.toMatchObject({ code: 'EIO' });
      await tree.release(handle);
    }
    for (const inode of [rawInode, jsonInode, folder]) {
      await expect(tree.attributes(inode, unending)).rejects.toMatchObject({ code: 'ESTALE' });
    }
    expect([...guest.opened].every((disk) => disk instanceof GivenBackDisk && disk.closed)).toBe(true);
  });

  it('gives a name that is used again to other files', async () => {
    const { tree, guest, snapshot } = await taken();
    const before = [await inodeAt(tree, full), await inodeAt(tree, raw)];
    const first = await textAt(tree, `${full}/snapshot.json`);
    await rmdir(tree, full);
    await mkdir(tree, full);
    const after = [await inodeAt(tree, full), await inodeAt(tree, raw)];
    expect(after.filter((inode) => before.includes(inode))).toEqual([]);
    expect(JSON.parse(first)).toMatchObject({ id: snapshot.id });
    expect(JSON.parse(await textAt(tree, `${full}/snapshot.json`))).toMatchObject({
      id: guest.snapshots[0]?.id,
    });
  });

  it('goes on when whoever asked has left, once', async () => {
    const { tree, snapshot, guest } = await taken();
    let finish: () => void = () => undefined;
    snapshot.ending = new Promise((resolve) => {
      finish = resolve;
    });
    const leaving = new AbortController();
    const first = rmdir(tree, full, leaving.signal);
    while (snapshot.ends === 0) await new Promise(setImmediate);
    leaving.abort();
    await expect(first).rejects.toMatchObject({ name: 'AbortError' });
    const folder = await inodeAt(tree, snapshots);
    const second = tree.rmdir?.(folder, nameFromText('full'), unending);
    finish();
    await second;
    expect(snapshot.ends).toBe(1);
    expect(guest.snapshots).toEqual([]);
  });

  it('fails where something is left, though the snapshot is gone', async () => {
    const { tree, snapshot, guest } = await taken();
    const changes = changesOf(tree);
    const folder = await inodeAt(tree, snapshots);
    snapshot.end = async () => {
      guest.gone(snapshot);
      throw new StillError('EIO', 'a bitmap is left');
    };
    await expect(rmdir(tree, full)).rejects.toMatchObject({ code: 'EIO' });
    expect(await find(tree, full)).toBeUndefined();
    expect(changes).toContainEqual({ kind: 'entry', folder, name: 'full' });
  });
});

describe('outcome', () => {
  const outcome = `${full}/outcome`;

  it.each([
    'success',
    'success\n',
    'failure',
    'failure\n',
  ])('takes %j, as a shell writes it', async (text) => {
    const { tree, snapshot } = await taken();
    expect(await textAt(tree, outcome)).toBe('pending\n');
    expect(await find(tree, outcome)).toMatchObject({ size: 8, permissions: 0o600 });
    await write(tree, outcome, text);
    expect(snapshot.outcome).toBe(text.trim());
    expect(await textAt(tree, outcome)).toBe(`${text.trim()}\n`);
  });

  it.each([
    '',
    '\n',
    'succes',
    'success\n\n',
    'Success',
    'pending',
    'success failure',
    ' success',
  ])('refuses %j, and says what it said before', async (text) => {
    const { tree } = await taken();
    await write(tree, outcome, 'failure');
    await expect(write(tree, outcome, text)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(await textAt(tree, outcome)).toBe('failure\n');
  });

  it('refuses what is not written at its start', async () => {
    const { tree } = await taken();
    await expect(write(tree, outcome, 'success', 8)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('tells who writes that success was said of what is broken', async () => {
    const { tree, snapshot } = await taken();
    snapshot.broken = true;
    await expect(write(tree, outcome, 'success')).rejects.toMatchObject({ code: 'EIO' });
    expect(await textAt(tree, outcome)).toBe('pending\n');
  });

  it('may be changed until the end, and who has it open reads what is so now', async () => {
    const { tree } = await taken();
    const { handle } = await tree.open(await inodeAt(tree, outcome), 'read-write', unending);
    const target = Buffer.alloc(100);
    await tree.write?.(handle, 0, Buffer.from('success\n'), unending);
    await write(tree, outcome, 'failure\n');
    const length = await tree.read(handle, 0, target, unending);
    expect(target.toString('utf8', 0, length)).toBe('failure\n');
    await rmdir(tree, full);
    await expect(tree.write?.(handle, 0, Buffer.from('success'), unending)).rejects.toMatchObject({
      code: 'EIO',
    });
  });
});

describe("a snapshot's disk", () => {
  it('is shown as those of backups are, uncached', async () => {
    const { tree } = await taken();
    const { size } = someSnapshotDisk();
    expect(await namesAt(tree, `${full}/disks`)).toEqual([
      'drive-scsi0.dirty.json',
      'drive-scsi0.dirty.map',
      'drive-scsi0.raw',
    ]);
    expect(await find(tree, raw)).toMatchObject({ size, allocated: 132_072, permissions: 0o600 });
    expect(await dataAt(tree, raw)).toEqual([
      [0, 131_072],
      [196_608, size],
    ]);
    expect(await dataAt(tree, `${full}/changes/drive-scsi0.changed`)).toEqual([
      [0, 65_536],
      [196_608, size],
    ]);
    for (const suffix of ['dirty.json', 'dirty.map']) {
      const path = `${full}/disks/drive-scsi0.${suffix}`;
      expect((await find(tree, path))?.size).toBe((await bytesAt(tree, path)).length);
    }
    const { handle, cache } = await tree.open(await inodeAt(tree, raw), 'read', unending);
    expect(cache).toBe('direct');
    await tree.release(handle);
  });

  it('is opened by no listing', async () => {
    const { tree, guest } = await taken();
    await namesAt(tree, `${full}/disks`);
    await namesAt(tree, `${full}/changes`);
    expect(guest.opened.size).toBe(0);
  });

  it('can be given back: what it takes up is told anew, what is dirty stays so', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { tree } = await taken();
    const map = await textAt(tree, `${full}/disks/drive-scsi0.dirty.map`);
    expect(await find(tree, raw)).toMatchObject({ allocated: 132_072, freshSeconds: 1 });
    const { handle } = await tree.open(await inodeAt(tree, raw), 'read-write', unending);
    await tree.discard?.(handle, 131_072, 65_536, unending);
    vi.advanceTimersByTime(1001);
    // It was zeros: a hole. What can't be read is none.
    expect((await find(tree, raw))?.allocated).toBe(132_072 + 65_536);
    expect(await tree.seek?.(handle, 131_072, 'data', unending)).toBe(131_072);
    await expect(tree.read(handle, 131_072, Buffer.alloc(4096), unending)).rejects.toMatchObject({
      code: 'EIO',
    });
    expect(await tree.read(handle, 0, Buffer.alloc(4096), unending)).toBe(4096);
    expect(await textAt(tree, `${full}/disks/drive-scsi0.dirty.map`)).toBe(map);
    await tree.release(handle);
  });

  it('can be given back beyond its end, where there is nothing', async () => {
    const { tree } = await taken();
    const { handle } = await tree.open(await inodeAt(tree, raw), 'read-write', unending);
    await tree.discard?.(handle, 196_608, 1_000_000, unending);
    await tree.discard?.(handle, 1_000_000, 4096, unending);
    await expect(tree.read(handle, 196_608, Buffer.alloc(1000), unending)).rejects.toMatchObject({
      code: 'EIO',
    });
    await tree.release(handle);
  });

  it('is never written to nor cut, and nothing else may be opened for that', async () => {
    const { tree } = await taken();
    const inode = await inodeAt(tree, raw);
    const { handle } = await tree.open(inode, 'read-write', unending);
    await expect(tree.write?.(handle, 0, Buffer.from('x'), unending)).rejects.toMatchObject({
      code: 'EROFS',
    });
    await expect(tree.truncate?.(inode, 0, unending)).rejects.toMatchObject({ code: 'EROFS' });
    await tree.release(handle);
    for (const path of ['disks/drive-scsi0.dirty.map', 'changes/drive-scsi0.changed', 'snapshot.json']) {
      const other = await inodeAt(tree, `${full}/${path}`);
      await expect(tree.open(other, 'read-write', unending)).rejects.toMatchObject({ code: 'EROFS' });
    }
  });

  it('that fails is EIO, is named in PROBLEM.txt, and does not trouble its neighbours', async () => {
    const guest = new MemoryGuest('100');
    guest.disks.set('vdb', async () => {
      throw new StillError('ECONNREFUSED', 'the export is gone');
    });
    const { tree } = await taken(guest);
    expect(await find(tree, `${full}/PROBLEM.txt`)).toBeUndefined();
    await expect(find(tree, `${full}/disks/vdb.raw`)).rejects.toMatchObject({ code: 'EIO' });
    const bad = await namesAt(tree, `${full}/disks`);
    expect(bad).toContain('vdb.raw');
    expect(await textAt(tree, `${full}/PROBLEM.txt`)).toBe(
      "disks/vdb.raw can't be read: the export is gone\n",
    );
    expect((await bytesAt(tree, raw)).length).toBe(someSnapshotDisk().size);
  });
});

describe("a container's snapshot", () => {
  it('has the tree of its files upon rootfs/, which is let go at the end', async () => {
    const guest = new MemoryGuest('100');
    const files = openLayout({ stores: [new MemoryStore('etc')], log: silent });
    const closed = vi.spyOn(files, 'close');
    guest.disks.clear();
    guest.rootfs = async () => files;
    const { tree } = await taken(guest);
    expect(await namesAt(tree, full)).toEqual(['guest.conf', 'outcome', 'rootfs', 'snapshot.json']);
    const rootfs = await find(tree, `${full}/rootfs`);
    expect(rootfs?.graft).toBe(true);
    const graft = await tree.graft?.(rootfs?.inode ?? 0n, unending);
    expect(graft?.tree).toBe(files);
    expect(closed).not.toHaveBeenCalled();
    await rmdir(tree, full);
    expect(closed).toHaveBeenCalledOnce();
    graft?.release();
    await expect(tree.graft?.(rootfs?.inode ?? 0n, unending)).rejects.toMatchObject({ code: 'ESTALE' });
  });
});

describe('a snapshot that changes by itself', () => {
  it('is told to the kernel when it comes and when it goes', async () => {
    const guest = new MemoryGuest('100');
    const tree = layoutOf(guest);
    const folder = await inodeAt(tree, snapshots);
    const changes = changesOf(tree);
    const snapshot = await guest.take({ folder: 'full', chain: undefined, name: 'full' }, unending);
    expect(changes).toContainEqual({ kind: 'entry', folder, name: 'full' });
    const below = [await inodeAt(tree, full), await inodeAt(tree, raw)];
    const { handle } = await tree.open(below[1] ?? 0n, 'read', unending);
    changes.length = 0;
    await snapshot.end();
    expect(changes).toContainEqual({ kind: 'entry', folder, name: 'full' });
    for (const inode of below) expect(changes).toContainEqual({ kind: 'inode', inode });
    await expect(tree.read(handle, 0, Buffer.alloc(1), unending)).rejects.toMatchObject({ code: 'EIO' });
    await tree.release(handle);
  });

  it('has its new text read at once, and the kernel is told', async () => {
    const { tree, guest, snapshot } = await taken();
    const path = `${full}/snapshot.json`;
    await textAt(tree, path);
    const inodes = [await inodeAt(tree, path), await inodeAt(tree, `${full}/outcome`)];
    const changes = changesOf(tree);
    snapshot.more = { fleecing: 'nearly full' };
    guest.tell(snapshot);
    for (const inode of inodes) expect(changes).toContainEqual({ kind: 'inode', inode });
    expect(await textAt(tree, path)).toBe(`${JSON.stringify(snapshot.describe(), undefined, 2)}\n`);
    await write(tree, `${full}/outcome`, 'success\n');
    expect(JSON.parse(await textAt(tree, path))).toMatchObject({ outcome: 'success' });
  });

  it('has new problems in PROBLEM.txt at once, as long as they are there', async () => {
    const { tree, guest, snapshot } = await taken();
    const folder = await inodeAt(tree, full);
    const changes = changesOf(tree);
    for (const problems of [['no fleecing space is left'], ['no fleecing space is left', 'and more']]) {
      snapshot.problems = problems;
      guest.tell(snapshot);
      expect(changes.splice(0)).toContainEqual({ kind: 'entry', folder, name: 'PROBLEM.txt' });
      expect(await textAt(tree, `${full}/PROBLEM.txt`)).toBe(problems.map((text) => `${text}\n`).join(''));
    }
    snapshot.problems = [];
    guest.tell(snapshot);
    expect(await find(tree, `${full}/PROBLEM.txt`)).toBeUndefined();
  });

  it('is watched as long as the tree is open', async () => {
    const guest = new MemoryGuest('100');
    const tree = openLayout({ stores: [], guests: [guest], log: silent });
    expect(guest.watchers).toBe(1);
    await tree.close();
    expect(guest.watchers).toBe(0);
  });
});

import { afterEach, describe, expect, it, vi } from 'vitest';
import { StillError } from '../../../src/errors.js';
import { openLayout } from '../../../src/layout/layout.js';
import { silent } from '../../../src/log.js';
import { nameFromText } from '../../../src/name.js';
import {
  changesOf,
  closeTrees,
  full,
  layoutOf,
  mkdir,
  raw,
  rmdir,
  snapshots,
  taken,
  write,
} from './guest-tree.js';
import { GivenBackDisk, MemoryGuest, textFile } from './memory-guest.js';
import { MemoryStore } from './memory-store.js';
import { find, inodeAt, namesAt, textAt, unending } from './walk.js';

afterEach(async () => {
  vi.useRealTimers();
  await closeTrees();
});

describe('guests/', () => {
  it('stands beside backups/, each only where there is something to show', async () => {
    const guests = [new MemoryGuest('100')];
    const both = openLayout({ stores: [new MemoryStore('nas')], guests, log: silent });
    expect(await namesAt(both, '')).toEqual(['backups', 'guests']);
    await both.close();
    expect(await namesAt(layoutOf(...guests), '')).toEqual(['guests']);
  });

  it('keeps others out unless they are let in', async () => {
    const guests = [new MemoryGuest('100')];
    expect(await find(layoutOf(...guests), 'guests')).toMatchObject({ permissions: 0o700 });
    const open = openLayout({ stores: [], guests, log: silent, openToOthers: true });
    expect(await find(open, 'guests')).toMatchObject({ permissions: 0o755 });
    await open.close();
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
    expect(before?.freshSeconds).toBe(0);
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

  it('tells the size of what is open to who has just opened it, though the guest changes again', async () => {
    const guest = new MemoryGuest('100');
    const tree = layoutOf(guest);
    const path = 'guests/100/guest.json';
    const inode = await inodeAt(tree, path);
    const { handle, size } = await tree.open(inode, 'read', unending);
    guest.description = { ...guest.description, state: 'unknown', reason: 'it does not answer' };
    await mkdir(tree, full); // it tells of a change
    expect((await tree.attributes(inode, unending)).size).toBe(size);
    await tree.release(handle);
    expect((await tree.attributes(inode, unending)).size).toBe((await textAt(tree, path)).length);
    expect(await textAt(tree, path)).toContain('it does not answer');
  });

  it('tells at once what a new snapshot has changed of its guest', async () => {
    const guest = new MemoryGuest('100');
    const tree = layoutOf(guest);
    const path = 'guests/100/guest.json';
    const changes = changesOf(tree);
    const inode = await inodeAt(tree, path);
    guest.description = { ...guest.description, state: 'paused' };
    await mkdir(tree, full);
    expect(changes).toContainEqual({ kind: 'inode', inode });
    expect(JSON.parse(await textAt(tree, path))).toMatchObject({ state: 'paused' });
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
      'files',
      'firewall.conf',
      'guest.conf',
      'outcome',
      'rootfs',
      'snapshot.json',
      'volumes.json',
    ]);
    expect((await find(tree, snapshots))?.links).toBe(3);
  });

  it('does not have the kernel forget the folder that it has just made', async () => {
    const tree = layoutOf(new MemoryGuest('100'));
    const changes = changesOf(tree);
    await mkdir(tree, full);
    expect(changes.filter(({ kind }) => kind === 'entry')).toEqual([]);
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

  it('is shown where it was taken before the mount', async () => {
    const guest = new MemoryGuest('100');
    await guest.take({ folder: 'full', chain: undefined, name: 'full' }, unending);
    const tree = layoutOf(guest);
    expect(await namesAt(tree, snapshots)).toEqual(['full']);
    expect(await textAt(tree, `${full}/outcome`)).toBe('pending\n');
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

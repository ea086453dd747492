import { afterEach, describe, expect, it, vi } from 'vitest';
import { StillError } from '../../../src/errors.js';
import { openLayout } from '../../../src/layout/layout.js';
import { silent } from '../../../src/log.js';
import { nameFromText } from '../../../src/name.js';
import { closeTrees, full, raw, rmdir, taken, write } from './guest-tree.js';
import { MemoryGuest, someSnapshotDisk, textFile } from './memory-guest.js';
import { MemoryStore } from './memory-store.js';
import { bytesAt, dataAt, find, inodeAt, namesAt, textAt, unending } from './walk.js';

afterEach(async () => {
  vi.useRealTimers();
  await closeTrees();
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

  it('is walked once for all sizes, and anew only when some of it was given back a second ago', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const disk = someSnapshotDisk();
    const guest = new MemoryGuest('100');
    guest.disks.set('drive-scsi0', async () => disk);
    const { tree } = await taken(guest);
    const { handle } = await tree.open(await inodeAt(tree, raw), 'read-write', unending);
    await find(tree, raw);
    const once = disk.walked;
    vi.advanceTimersByTime(10_000);
    await find(tree, raw);
    await find(tree, `${full}/disks/drive-scsi0.dirty.json`);
    expect(disk.walked).toBe(once);
    await tree.discard?.(handle, 0, 4096, unending);
    await find(tree, raw);
    await find(tree, raw);
    const twice = disk.walked;
    expect(twice).toBeGreaterThan(once);
    await tree.discard?.(handle, 4096, 4096, unending);
    await find(tree, raw);
    expect(disk.walked).toBe(twice);
    await tree.release(handle);
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

describe("a snapshot's folder", () => {
  it('has its own files under their names, whatever the guest has', async () => {
    const guest = new MemoryGuest('100');
    guest.files.push(textFile('outcome', 'success\n'), textFile('disks', 'none\n'));
    const { tree } = await taken(guest);
    expect(await namesAt(tree, full)).toEqual([
      'PROBLEM.txt',
      'changes',
      'disks',
      'files',
      'guest.conf',
      'outcome',
      'rootfs',
      'snapshot.json',
      'volumes.json',
    ]);
    expect(await textAt(tree, `${full}/outcome`)).toBe('pending\n');
    expect(await textAt(tree, `${full}/PROBLEM.txt`)).toContain('outcome is not shown');
  });

  it('lets nobody rely for long on whether there are problems', async () => {
    const { tree, guest, snapshot } = await taken();
    const folder = await inodeAt(tree, full);
    const look = () => tree.lookup(folder, nameFromText('PROBLEM.txt'), unending);
    expect((await look()).freshSeconds).toBeLessThanOrEqual(1);
    snapshot.problems = ['no fleecing space is left'];
    guest.tell(snapshot);
    expect((await look()).freshSeconds).toBeLessThanOrEqual(1);
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

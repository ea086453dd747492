import { execFile } from 'node:child_process';
import {
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Disk } from '../../../../src/disks/disk.js';
import { longestChain } from '../../../../src/disks/qcow2/chain.js';
import { openQcow2Image } from '../../../../src/disks/qcow2/qcow2-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import { messageOf } from '../../../../src/errors.js';
import { nameFromText } from '../../../../src/name.js';
import { qemuImg, qemuIo } from '../../../corpus/qcow2-images.js';

const cluster = 65536;
/** Where fields of the header lie: docs/interop/qcow2.txt. */
const field = {
  version: 4,
  backingOffset: 8,
  backingLength: 16,
  clusterBits: 20,
  size: 24,
  encryption: 32,
  l1Entries: 36,
  l1Offset: 40,
  refcountOffset: 48,
  refcountClusters: 56,
  snapshots: 60,
  snapshotsOffset: 64,
  incompatible: 72,
  refcountOrder: 96,
  headerLength: 100,
  compressionType: 104,
} as const;

let folder: string;
let store: StoreFolder;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-hostile-'));
  store = await StoreFolder.open(folder);
});
afterEach(async () => {
  store.close();
  await rm(folder, { recursive: true });
});

describe('a header that is wrong is refused, by name and place', () => {
  const wrong: ReadonlyArray<readonly [string, number, Buffer, string, RegExp]> = [
    ['another magic', 0, u32(0x514649fa), 'EIO', /no qcow2 image/],
    ['version 1', field.version, u32(1), 'EOPNOTSUPP', /version 1/],
    ['version 4', field.version, u32(4), 'EOPNOTSUPP', /version 4/],
    ['clusters of 256 bytes', field.clusterBits, u32(8), 'EIO', /clusters of 2\^8/],
    ['clusters of 4 MiB', field.clusterBits, u32(22), 'EIO', /clusters of 2\^22/],
    ['clusters of 2^4294967295 bytes', field.clusterBits, u32(0xffffffff), 'EIO', /clusters of/],
    ['a size beyond 2^53', field.size, u64(2n ** 53n), 'EFBIG', /9007199254740992 bytes/],
    ['a size of 2^63', field.size, u64(2n ** 63n), 'EFBIG', /2\^53/],
    ['a size that its L1 table is too small for', field.size, u64(2n ** 40n), 'EIO', /needs 2048/],
    ['an L1 table without entries', field.l1Entries, u32(0), 'EIO', /L1 table has 0 entries/],
    ['an L1 table of 32 GiB', field.l1Entries, u32(0xffffffff), 'EIO', /more than 32 MiB/],
    [
      'an L1 table that is not at a cluster',
      field.l1Offset,
      u64(3n * 65536n + 8n),
      'EIO',
      /not at a cluster/,
    ],
    ['an L1 table beyond the end', field.l1Offset, u64(2n ** 40n), 'EIO', /lies outside/],
    ['an L1 table beyond 2^53', field.l1Offset, u64(2n ** 63n), 'EIO', /not at a cluster/],
    ['an L1 table over the header', field.l1Offset, u64(0n), 'EIO', /lies outside/],
    ['a refcount table that is not at a cluster', field.refcountOffset, u64(65537n), 'EIO', /refcount table/],
    ['a refcount table beyond the end', field.refcountOffset, u64(2n ** 50n), 'EIO', /refcount table/],
    ['no refcount table', field.refcountClusters, u32(0), 'EIO', /refcount table of 0/],
    ['a refcount table of 1 GiB', field.refcountClusters, u32(16384), 'EIO', /refcount table of 16384/],
    ['refcounts of 128 bits', field.refcountOrder, u32(7), 'EIO', /refcounts of 2\^7/],
    ['more snapshots than allowed', field.snapshots, u32(65537), 'EIO', /65537 snapshots/],
    ['a header of 96 bytes', field.headerLength, u32(96), 'EIO', /header of 96/],
    ['a header of 108 bytes', field.headerLength, u32(108), 'EIO', /header of 108/],
    ['a header beyond the first cluster', field.headerLength, u32(65544), 'EIO', /header of 65544/],
    ['AES encryption', field.encryption, u32(1), 'EOPNOTSUPP', /encrypted \(AES\)/],
    ['LUKS encryption', field.encryption, u32(2), 'EOPNOTSUPP', /encrypted \(LUKS\)/],
    ['unknown encryption', field.encryption, u32(3), 'EOPNOTSUPP', /encrypted \(method 3\)/],
    ['a corrupt bit', field.incompatible, u64(2n), 'EIO', /marked corrupt/],
    ['an external data file', field.incompatible, u64(4n), 'EOPNOTSUPP', /external file/],
    [
      'a compression type without its feature bit',
      field.compressionType,
      Buffer.from([1]),
      'EIO',
      /contradict/,
    ],
    ['a feature bit without a compression type', field.incompatible, u64(8n), 'EIO', /contradict/],
    ['an unknown feature', field.incompatible, u64(2n ** 63n + 2n ** 17n), 'EOPNOTSUPP', /bit 17, bit 63$/],
    ['a backing name beyond the header', field.backingOffset, u64(2n ** 40n), 'EIO', /outside of the header/],
  ];
  test.each(wrong)('%s', async (_, offset, bytes, code, message) => {
    await image('disk.qcow2');
    await patch('disk.qcow2', offset, bytes);
    const error = await failure(opened('disk.qcow2'));
    expect(error).toMatchObject({ code });
    expect(messageOf(error)).toMatch(message);
    expect(messageOf(error)).toContain(`${folder}/disk.qcow2`);
  });

  test('an unknown compression type', async () => {
    await image('disk.qcow2');
    await patch('disk.qcow2', field.incompatible, u64(8n));
    await patch('disk.qcow2', field.compressionType, Buffer.from([2]));
    expect(messageOf(await failure(opened('disk.qcow2')))).toMatch(/unknown type 2/);
  });

  test('extended L2 entries in clusters of 8 KiB', async () => {
    await image('disk.qcow2', '-o', 'cluster_size=8192');
    await patch('disk.qcow2', field.incompatible, u64(16n));
    expect(messageOf(await failure(opened('disk.qcow2')))).toMatch(/16 KiB/);
  });

  test('an unknown feature is called by the name that the image gives it', async () => {
    await image('disk.qcow2');
    const bytes = await readFile(join(folder, 'disk.qcow2'));
    const table = bytes.indexOf(u32(0x6803f857));
    await patch(
      'disk.qcow2',
      table + 8,
      Buffer.concat([Buffer.from([0, 40]), Buffer.from('time travel\n\0')]),
    );
    await patch('disk.qcow2', field.incompatible, u64(2n ** 40n));
    expect(messageOf(await failure(opened('disk.qcow2')))).toMatch(/not known: time travel\?$/);
  });

  test('a header extension that is longer than the header', async () => {
    await image('disk.qcow2');
    const bytes = await readFile(join(folder, 'disk.qcow2'));
    await patch('disk.qcow2', bytes.indexOf(u32(0x6803f857)) + 4, u32(0xfffffff0));
    expect(messageOf(await failure(opened('disk.qcow2')))).toMatch(/header extension at 112 is longer/);
  });

  test('a first cluster full of empty extensions ends', async () => {
    await image('disk.qcow2', '-o', 'cluster_size=2M');
    await patch('disk.qcow2', 112, Buffer.alloc((2 << 20) - 112, u64(0x1234567800000000n)));
    await (await opened('disk.qcow2')).close();
  });

  test.each([0, 1, 71, 72, 103, 104, 111])('a file of %i bytes', async (length) => {
    await image('disk.qcow2');
    await truncate(join(folder, 'disk.qcow2'), length);
    expect(await failure(opened('disk.qcow2'))).toMatchObject({ code: 'EIO' });
  });
});

test('an image that QEMU was writing to (dirty bit) is read', async () => {
  await image('disk.qcow2');
  await patch('disk.qcow2', field.incompatible, u64(1n));
  const disk = await opened('disk.qcow2');
  expect(await byteAt(disk, 0)).toBe(7);
  await disk.close();
});

describe('tables that are wrong are EIO at their place, and nowhere else', () => {
  /** One L1 entry, its L2 table, data at the disk's start and at 1 GiB, which has a table of its own. */
  async function tables(...options: string[]): Promise<{ l1: number; l2: number }> {
    const bytes = await madeOnce('disk.qcow2', `tables ${options}`, async () => {
      await qemuImg(folder, 'create', '-q', '-f', 'qcow2', ...options, 'disk.qcow2', '2G');
      await qemuIo(folder, 'disk.qcow2', 'write -P 7 0 64k', 'write -P 8 1G 64k');
    });
    const l1 = Number(bytes.readBigUInt64BE(field.l1Offset));
    return { l1, l2: Number(bytes.readBigUInt64BE(l1) & 0x00fffffffffffe00n) };
  }
  async function expectDamage(message: RegExp): Promise<void> {
    const disk = await opened('disk.qcow2');
    const error = await failure(byteAt(disk, 0));
    expect(error).toMatchObject({ code: 'EIO' });
    expect(messageOf(error)).toMatch(message);
    expect(await failure(disk.extents(0, 4096))).toMatchObject({ code: 'EIO' });
    expect(await byteAt(disk, 2 ** 30)).toBe(8);
    await disk.close();
  }

  const data = 0x8000000000000000n;
  test.each([
    ['not at a cluster', data + 65536n + 512n, /L1 entry 0: a table at 66048, not at a cluster/],
    ['beyond the end', data + 2n ** 40n, /L1 entry 0: a table at 1099511627776, beyond the file/],
    ['beyond 2^53', data + 2n ** 55n, /beyond the file/],
    ['with reserved bits', data + 65536n + 1n, /reserved bits/],
  ])('an L2 table %s', async (_, entry, message) => {
    const { l1 } = await tables();
    await patch('disk.qcow2', l1, u64(entry));
    await expectDamage(message);
  });

  test('an L2 table within the L1 table', async () => {
    const { l1 } = await tables();
    await patch('disk.qcow2', l1, u64(data + BigInt(l1)));
    await expectDamage(/within the L1 table/);
  });

  test.each([
    ['data that is not at a cluster', data + 65536n + 512n, /data at 66048, not at a cluster/],
    ['data beyond the end', data + 2n ** 40n, /beyond the file/],
    ['data beyond 2^53', data + 2n ** 55n, /beyond the file/],
    ['reserved bits', data + 65536n + 2n, /reserved bits/],
    ['a zero cluster that keeps a place between clusters', 65536n + 512n + 1n, /zero cluster at/],
    ['compressed data in the header', 0x4000000000000000n + 512n, /compressed data at 512/],
    ['compressed data beyond the end', 0x4000000000000000n + 2n ** 50n, /compressed data at/],
    ['compressed data that is none', 0x4000000000000000n + 3n * 65536n, /can't be decompressed/],
  ])('an L2 entry with %s', async (name, entry, message) => {
    const { l2 } = await tables();
    await patch('disk.qcow2', l2, u64(entry));
    if (name !== 'compressed data that is none') return expectDamage(message);
    const disk = await opened('disk.qcow2');
    expect(messageOf(await failure(byteAt(disk, 0)))).toMatch(message);
    expect(await byteAt(disk, 2 ** 30)).toBe(8);
    await disk.close();
  });

  test('a zero cluster in version 2', async () => {
    const { l2 } = await tables('-o', 'compat=0.10');
    await patch('disk.qcow2', l2, u64(1n));
    await expectDamage(/version 2 does not have/);
  });

  test.each([
    ['a subcluster both allocated and zero', undefined, 0x0000000100000001n, /both allocated and zero/],
    ['allocated subclusters of no cluster', 0n, 0x0000000000000001n, /of a cluster that is not/],
    ['a compressed cluster with subclusters', 0x4000000000030000n, 1n, /compressed cluster with subclusters/],
  ])('an extended L2 entry with %s', async (_, entry, bitmap, message) => {
    const { l2 } = await tables('-o', 'extended_l2=on');
    if (entry !== undefined) await patch('disk.qcow2', l2, u64(entry));
    await patch('disk.qcow2', l2 + 8, u64(bitmap));
    await expectDamage(message);
  });

  test('extents before the damage are told, and the damage when it is reached', async () => {
    const { l2 } = await tables();
    await patch('disk.qcow2', l2 + 8, u64(data + 1n * 512n));
    const disk = await opened('disk.qcow2');
    expect(await disk.extents(0, 2 ** 30)).toEqual([
      { offset: 0, length: cluster, zero: false, dirty: true },
    ]);
    expect(await failure(disk.extents(cluster, 2 ** 30))).toMatchObject({ code: 'EIO' });
    await disk.close();
  });

  test('an image that was cut short fails where its data is gone, and never reads as zeros there', async () => {
    await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'disk.qcow2', '4M');
    await qemuIo(folder, 'disk.qcow2', 'write -P 7 0 4M');
    const whole = (await readFile(join(folder, 'disk.qcow2'))).length;
    await truncate(join(folder, 'disk.qcow2'), whole - 2 * cluster);
    const disk = await opened('disk.qcow2');
    expect(await byteAt(disk, 0)).toBe(7);
    expect(await failure(byteAt(disk, 4 * 2 ** 20 - 1))).toMatchObject({ code: 'EIO' });
    expect(await failure(disk.read(0, Buffer.alloc(disk.size)))).toMatchObject({ code: 'EIO' });
    const kept = disk.size - 2 * cluster;
    expect(await disk.extents(0, disk.size)).toEqual([{ offset: 0, length: kept, zero: false, dirty: true }]);
    expect(await failure(disk.extents(kept, 1))).toMatchObject({ code: 'EIO' });
    await truncate(join(folder, 'disk.qcow2'), whole - 10 * cluster);
    expect(await failure(byteAt(disk, 4 * 2 ** 20 - 3 * cluster))).toMatchObject({ code: 'EIO' });
    await disk.close();
  });

  test('the last cluster may be a short one: what it lacks is zeros, as QEMU reads it', async () => {
    await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'disk.qcow2', '64k');
    await qemuIo(folder, 'disk.qcow2', 'write -P 7 0 64k');
    const whole = (await readFile(join(folder, 'disk.qcow2'))).length;
    await truncate(join(folder, 'disk.qcow2'), whole - 512);
    await qemuImg(folder, 'convert', '-f', 'qcow2', '-O', 'raw', 'disk.qcow2', 'expected');
    const disk = await opened('disk.qcow2');
    const bytes = Buffer.alloc(cluster);
    await disk.read(0, bytes);
    expect(bytes.equals(await readFile(join(folder, 'expected')))).toBe(true);
    expect([bytes[cluster - 513], bytes[cluster - 512]]).toEqual([7, 0]);
    await disk.close();
  });
});

describe('a backing file is followed only in its store', () => {
  test.each([
    ['nbd:localhost:10809', 'EACCES', /protocol/],
    ['file:base.qcow2', 'EACCES', /protocol/],
    ['json:{"driver":"file","filename":"/etc/passwd"}', 'EACCES', /protocol/],
    ['fat:rw:/etc', 'EACCES', /protocol/],
    ['a:b', 'EACCES', /protocol/],
    ['/etc/passwd', 'EACCES', /outside of the store/],
    ['/dev/zero', 'EACCES', /outside of the store/],
    ['../outside', 'EXDEV', /can't open/],
    ['x/../../outside', 'EXDEV', /can't open/],
    ['missing', 'ENOENT', /can't open/],
    ['link-in', 'EINVAL', /not a regular file/],
    ['linked-folder/base.raw', 'ELOOP', /can't open/],
    ['x', 'EINVAL', /not a regular file/],
    ['fifo', 'EINVAL', /not a regular file/],
    ['', undefined, undefined],
  ])('"%s"', async (name, code, message) => {
    await mkdir(join(folder, 'store/x'), { recursive: true });
    const inner = await StoreFolder.open(join(folder, 'store'));
    await writeFile(join(folder, 'outside'), 'secret');
    await writeFile(join(folder, 'store/base.raw'), 'base');
    await symlink('base.raw', join(folder, 'store/link-in'));
    await symlink('.', join(folder, 'store/linked-folder'));
    await promisify(execFile)('mkfifo', [join(folder, 'store/fifo')]);
    await overlay('store/disk.qcow2', 'b'.repeat(Math.max(name.length, 1)), 'raw');
    await setBackingName('store/disk.qcow2', name);
    const opening = openQcow2Image(inner, nameFromText('disk.qcow2'));
    if (code === undefined) await (await opening).close();
    else {
      const error = await failure(opening);
      expect(error).toMatchObject({ code });
      expect(messageOf(error)).toMatch(message);
    }
    inner.close();
    expect(await openDescriptorsIn(folder)).toEqual([folder]);
  });

  test('a name with a NUL', async () => {
    await overlay('disk.qcow2', 'base.raw', 'raw');
    await setBackingName('disk.qcow2', 'base\0raw');
    expect(await failure(opened('disk.qcow2'))).toMatchObject({ code: 'EACCES' });
  });

  test('a name of more than 1023 bytes', async () => {
    await overlay('disk.qcow2', 'base.raw', 'raw');
    await patch('disk.qcow2', field.backingLength, u32(1024));
    expect(messageOf(await failure(opened('disk.qcow2')))).toMatch(/1024 bytes/);
  });

  test('an absolute path into the store is followed, also by the real name of a linked store', async () => {
    await mkdir(join(folder, 'real/a'), { recursive: true });
    await symlink('real', join(folder, 'linked'));
    await writeFile(join(folder, 'real/base.raw'), Buffer.alloc(512, 5));
    const linked = await StoreFolder.open(join(folder, 'linked'));
    for (const root of ['real', 'linked']) {
      await overlay('real/a/disk.qcow2', join(folder, root, 'base.raw'), 'raw');
      const disk = await openQcow2Image(linked, nameFromText('a/disk.qcow2'));
      expect(await byteAt(disk, 0)).toBe(5);
      await disk.close();
    }
    await overlay('real/a/disk.qcow2', `${folder}/linked/../outside`, 'raw');
    expect(await failure(openQcow2Image(linked, nameFromText('a/disk.qcow2')))).toMatchObject({
      code: 'EXDEV',
    });
    linked.close();
  });

  test('a name with a colon after a slash is a path, and bytes that are no UTF-8 are kept', async () => {
    await mkdir(join(folder, '2024-11-13T09:57:19Z'));
    await writeFile(join(folder, '2024-11-13T09:57:19Z/base'), Buffer.alloc(512, 6));
    await overlay('disk.qcow2', './2024-11-13T09:57:19Z/base', 'raw');
    const disk = await opened('disk.qcow2');
    expect(await byteAt(disk, 0)).toBe(6);
    await disk.close();
    await writeFile(
      Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0xfe])]),
      Buffer.alloc(512, 9),
    );
    await overlay('disk.qcow2', 'bb', 'raw');
    await patch('disk.qcow2', await backingNameAt('disk.qcow2'), Buffer.from([0xff, 0xfe]));
    const other = await opened('disk.qcow2');
    expect(await byteAt(other, 0)).toBe(9);
    await other.close();
  });

  test('with its format said: none is refused with what to do', async () => {
    await writeFile(join(folder, 'base.raw'), 'QFI\xfb');
    await overlay('disk.qcow2', 'base.raw', 'raw');
    const bytes = await readFile(join(folder, 'disk.qcow2'));
    await patch('disk.qcow2', bytes.indexOf(u32(0xe2792aca)), u32(0x12345678));
    const error = await failure(opened('disk.qcow2'));
    expect(error).toMatchObject({ code: 'EINVAL' });
    expect(messageOf(error)).toContain('qemu-img rebase -u');
  });

  test('with a format that is read here: vmdk is refused', async () => {
    await overlay('disk.qcow2', 'base', 'vmdk');
    expect(messageOf(await failure(opened('disk.qcow2')))).toMatch(/format "vmdk"/);
  });

  test('raw means raw: a qcow2 header in a raw backing file is data', async () => {
    await image('base.raw');
    await overlay('disk.qcow2', 'base.raw', 'raw');
    const disk = await opened('disk.qcow2');
    expect(await byteAt(disk, 1)).toBe('F'.charCodeAt(0));
    await disk.close();
  });

  test('a circle is an error, by its files and not their names', async () => {
    await overlay('a.qcow2', 'b.qcow2', 'qcow2');
    await overlay('b.qcow2', 'c.qcow2', 'qcow2');
    await link(join(folder, 'a.qcow2'), join(folder, 'c.qcow2'));
    const error = await failure(opened('a.qcow2'));
    expect(error).toMatchObject({ code: 'ELOOP' });
    expect(messageOf(error)).toMatch(/based on itself/);
    await overlay('self.qcow2', 'that.qcow2', 'qcow2');
    await setBackingName('self.qcow2', 'self.qcow2');
    expect(await failure(opened('self.qcow2'))).toMatchObject({ code: 'ELOOP' });
    expect(await openDescriptorsIn(folder)).toEqual([folder]);
  });

  test('10 000 images one upon the other are an error, and all are closed; the longest allowed chain is read', async () => {
    await overlay('0', '00000', 'qcow2');
    const bytes = await readFile(join(folder, '0'));
    const nameAt = bytes.readUInt32BE(field.backingOffset + 4);
    // An image of three clusters, the smallest that is whole.
    for (let i = 0; i < 10_000; i++) {
      bytes.write(String(i + 1).padStart(5, '0'), nameAt);
      await writeFile(join(folder, String(i).padStart(5, '0')), bytes);
    }
    const error = await failure(opened('00000'));
    expect(error).toMatchObject({ code: 'ELOOP' });
    expect(messageOf(error)).toMatch(/more than 500 images/);
    expect(await openDescriptorsIn(folder)).toEqual([folder]);

    await image(String(longestChain - 1).padStart(5, '0'));
    const disk = await opened('00000');
    expect(await byteAt(disk, 0)).toBe(7);
    expect(await disk.extents(0, disk.size)).toEqual([
      { offset: 0, length: cluster, zero: false, dirty: false },
      { offset: cluster, length: disk.size - cluster, zero: true, dirty: false },
    ]);
    await disk.close();
    expect(await openDescriptorsIn(folder)).toEqual([folder]);
  });
});

/** A disk of 1 MiB whose first cluster is sevens. */
async function image(path: string, ...options: string[]): Promise<void> {
  await madeOnce(path, `image ${options}`, async () => {
    await qemuImg(folder, 'create', '-q', '-f', 'qcow2', ...options, path, '1M');
    await qemuIo(folder, path, 'write -P 7 0 64k');
  });
}

const made = new Map<string, Buffer>();

/** Has QEMU make a file the first time, and writes the same bytes later. */
async function madeOnce(path: string, kind: string, make: () => Promise<void>): Promise<Buffer> {
  const before = made.get(kind);
  if (before) {
    await writeFile(join(folder, path), before);
    return before;
  }
  await make();
  const bytes = await readFile(join(folder, path));
  made.set(kind, bytes);
  return bytes;
}

async function overlay(path: string, backing: string, format: string): Promise<void> {
  await rm(join(folder, path), { force: true });
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', '-u', '-b', backing, '-F', format, path, '1M');
}

async function backingNameAt(path: string): Promise<number> {
  return (await readFile(join(folder, path))).readUInt32BE(field.backingOffset + 4);
}

/** Writes a name over another one; QEMU would not write some of those that are needed here. */
async function setBackingName(path: string, name: string): Promise<void> {
  await patch(path, await backingNameAt(path), Buffer.from(name));
  await patch(path, field.backingLength, u32(Buffer.byteLength(name)));
}

async function patch(path: string, offset: number, bytes: Buffer): Promise<void> {
  const file = await open(join(folder, path), 'r+');
  await file.write(bytes, 0, bytes.length, offset);
  await file.close();
}

function opened(path: string): Promise<Disk> {
  return openQcow2Image(store, nameFromText(path));
}

async function byteAt(disk: Disk, offset: number): Promise<number | undefined> {
  const byte = Buffer.alloc(1);
  await disk.read(offset, byte);
  return byte[0];
}

/** What a promise fails with; it is an error for it to succeed. */
async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('this was expected to fail');
}

/** What this process has open of a folder, once what is being closed is closed. */
async function openDescriptorsIn(root: string): Promise<string[]> {
  for (let attempt = 0; ; attempt++) {
    const targets: string[] = [];
    for (const number of await readdir('/proc/self/fd')) {
      const target = await readlink(`/proc/self/fd/${number}`).catch(() => '');
      if (target.startsWith(root)) targets.push(target);
    }
    // Descriptors close in the pool; each round through it gives them a turn.
    if (targets.length <= 1 || attempt === 1000) return targets;
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

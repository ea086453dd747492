import { execFile } from 'node:child_process';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ForeignFormat, openForeignImage } from '../../../../src/disks/foreign/foreign-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import { nameFromText } from '../../../../src/name.js';
import { foreignKinds, makeForeignImages } from './foreign-images.js';

const run = promisify(execFile);
let folder: string;
let store: StoreFolder;
let source: Buffer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-foreign-'));
  store = await StoreFolder.open(folder);
  await makeForeignImages(folder);
  source = await readFile(join(folder, 'source.raw'));
});
afterAll(async () => {
  store.close();
  await rm(folder, { recursive: true });
});

const opened = (file: string, format: ForeignFormat, signal?: AbortSignal) =>
  openForeignImage(store, nameFromText(file), format, signal);

describe('an image of another format is the disk that it was made from:', () => {
  for (const { name, file, format } of foreignKinds) {
    test(name, async () => {
      const disk = await opened(file, format);
      expect(disk.size).toBe(source.length);
      const bytes = Buffer.alloc(disk.size, 0xee);
      await disk.read(0, bytes);
      expect(bytes.equals(source)).toBe(true);
      for (let at = 0; at < disk.size; ) {
        const extents = await disk.extents(at, disk.size - at);
        for (const { offset, length, zero } of extents) {
          if (zero) expect(source.subarray(offset, offset + length).every((byte) => byte === 0)).toBe(true);
          at = offset + length;
        }
      }
      expect(disk.discard).toBeUndefined();
      await disk.close();
    });
  }
});

describe('an image that is more than one file is refused:', () => {
  /** Makes an image with qemu-img and what `change` does to its bytes. */
  async function image(
    file: string,
    args: readonly string[],
    change?: (bytes: Buffer) => Buffer | undefined,
  ) {
    await run('qemu-img', ['create', '-q', ...args], { cwd: folder });
    if (!change) return;
    const bytes = await readFile(join(folder, file));
    await writeFile(join(folder, file), change(bytes) ?? bytes);
  }
  const put = (text: string, other: string) => (bytes: Buffer) => {
    const at = bytes.indexOf(text);
    if (at < 0 || other.length > text.length) throw new Error(`no place for ${other}`);
    bytes.fill(0x20, at, at + text.length).write(other, at, 'latin1');
    return undefined;
  };
  const vmdk = ['-f', 'vmdk', 'x.vmdk', '4M'];
  const cases: Record<
    string,
    [file: string, format: ForeignFormat, words: RegExp, make: () => Promise<void>]
  > = {
    'a vmdk descriptor that names a file of the host': [
      'text.vmdk',
      'vmdk',
      /no sparse VMDK; descriptors name other files/,
      () =>
        writeFile(
          join(folder, 'text.vmdk'),
          '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n',
        ),
    ],
    'a flat vmdk': [
      'flat.vmdk',
      'vmdk',
      /descriptors name other files/,
      () => image('', ['-f', 'vmdk', '-o', 'subformat=monolithicFlat', 'flat.vmdk', '4M']),
    ],
    'a split vmdk': [
      'split.vmdk',
      'vmdk',
      /descriptors name other files/,
      () => image('', ['-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', 'split.vmdk', '4M']),
    ],
    'an extent of a split vmdk': [
      'split-s001.vmdk',
      'vmdk',
      /its descriptor is not where QEMU reads it|its type is/,
      async () => undefined,
    ],
    'a vmdk snapshot': [
      'child.vmdk',
      'vmdk',
      /it names a parent file/,
      () => image('', ['-f', 'vmdk', '-b', 'a.vmdk', '-F', 'vmdk', 'child.vmdk']),
    ],
    'a vmdk that has a parent by its number': [
      'x.vmdk',
      'vmdk',
      /it builds on a parent/,
      () => image('x.vmdk', vmdk, put('parentCID=ffffffff', 'parentCID=12345678')),
    ],
    'a vmdk without capacity, which sends QEMU to its descriptor': [
      'x.vmdk',
      'vmdk',
      /its capacity is 0/,
      () => image('x.vmdk', vmdk, (bytes) => bytes.fill(0, 12, 20)),
    ],
    'a vmdk of a type that is more files': [
      'x.vmdk',
      'vmdk',
      /its type is vmfsSparse, which/,
      () => image('x.vmdk', vmdk, put('createType="monolithicSparse"', 'createType="vmfsSparse"')),
    ],
    'a vmdk with two extents': [
      'x.vmdk',
      'vmdk',
      /it has 2 extents/,
      () => image('x.vmdk', vmdk, put('# The Disk Data Base', 'RW 8 FLAT "/etc"')),
    ],
    'a vmdk with a long descriptor': [
      'x.vmdk',
      'vmdk',
      /its descriptor has 4096 sectors/,
      () =>
        image('x.vmdk', vmdk, (bytes) => {
          bytes.writeBigUInt64LE(4096n, 36);
          return bytes;
        }),
    ],
    'a vdi that is a difference': [
      'x.vdi',
      'vdi',
      /its type is 4, which builds on another image/,
      () =>
        image('x.vdi', ['-f', 'vdi', 'x.vdi', '4M'], (bytes) => {
          bytes.writeUInt32LE(4, 76);
          return bytes;
        }),
    ],
    'a vdi that names a parent': [
      'x.vdi',
      'vdi',
      /it names another image as its parent/,
      () => image('x.vdi', ['-f', 'vdi', 'x.vdi', '4M'], (bytes) => bytes.fill(7, 440, 456)),
    ],
    'a vhd that is a difference': [
      'x.vhd',
      'vpc',
      /its type is 4, which builds on another image/,
      () =>
        image('x.vhd', ['-f', 'vpc', 'x.vhd', '4M'], (bytes) => {
          bytes.writeUInt32BE(4, 60);
          return bytes;
        }),
    ],
    'a vhd that is a difference by its last footer alone, in a file of odd length': [
      'x.vhd',
      'vpc',
      /its type is 4, which builds on another image/,
      () =>
        image('x.vhd', ['-f', 'vpc', 'x.vhd', '4M'], (bytes) => {
          const footer = bytes.subarray(bytes.length - 512);
          footer.writeUInt32BE(4, 60);
          bytes.fill(0, 0, 512);
          // The rest of a footer is zeros, which are not needed.
          return bytes.subarray(0, bytes.length - 100);
        }),
    ],
    'a vhdx that builds on another': [
      'x.vhdx',
      'vhdx',
      /it builds on another image/,
      () =>
        image('x.vhdx', ['-f', 'vhdx', 'x.vhdx', '4M'], (bytes) => {
          const at = bytes.indexOf(Buffer.from('3767a1ca36fa434db3b633f0aa44e76b', 'hex'));
          const metadata = bytes.indexOf('metadata');
          const item = metadata + bytes.readUInt32LE(at + 16);
          bytes.writeUInt32LE(bytes.readUInt32LE(item + 4) | 2, item + 4);
          return bytes;
        }),
    ],
    'a vhdx that locates a parent': [
      'x.vhdx',
      'vhdx',
      /it names another image as its parent/,
      () =>
        image('x.vhdx', ['-f', 'vhdx', 'x.vhdx', '4M'], (bytes) => {
          const metadata = bytes.indexOf('metadata');
          const count = bytes.readUInt16LE(metadata + 10);
          bytes.writeUInt16LE(count + 1, metadata + 10);
          Buffer.from('2d5fd3a80bb34d45abf7d3d84834ab0c', 'hex').copy(bytes, metadata + 32 + count * 32);
          return bytes;
        }),
    ],
  };
  for (const [name, [file, format, words, make]] of Object.entries(cases)) {
    test(name, async () => {
      await make();
      await expect(opened(file, format)).rejects.toMatchObject({
        code: 'EIO',
        message: expect.stringMatching(words),
      });
      await expect(opened(file, format)).rejects.toThrow(`${folder}/${file} is not read: `);
    });
  }

  test('an image too short for what it is', async () => {
    for (const { file, format } of foreignKinds) {
      const bytes = await readFile(join(folder, file));
      for (const length of [0, 1, 5, 9, 44, 100, 511, 512, 513, 192 * 1024 + 6]) {
        if (length >= bytes.length) continue;
        await writeFile(join(folder, 'cut'), bytes.subarray(0, length));
        const cut = opened('cut', format).then(async (disk) => {
          await disk.read(0, Buffer.alloc(disk.size)).finally(() => disk.close());
        });
        await expect(cut).rejects.toMatchObject({
          name: 'StillError',
          code: 'EIO',
          message: expect.stringMatching(/\/cut (is not read: |can't be opened: |can't be read)/),
        });
      }
    }
  });
});

describe('a damaged image', () => {
  for (const { name, file, format } of foreignKinds) {
    test(`that was cut off does not read as zeros: ${name}`, async () => {
      const bytes = await readFile(join(folder, file));
      await writeFile(join(folder, 'cut'), bytes.subarray(0, bytes.length - 70_000));
      let errors = 0;
      const failed = (error: unknown): void => {
        expect(error).toMatchObject({ name: 'StillError', code: 'EIO' });
        errors++;
      };
      const disk = await opened('cut', format).catch(failed);
      if (disk) {
        for (let at = 0; at < disk.size; at += 65536) {
          const part = Buffer.alloc(Math.min(65536, disk.size - at));
          await disk.read(at, part).then(() => {
            expect(part.equals(source.subarray(at, at + part.length))).toBe(true);
          }, failed);
        }
        await disk.close();
      }
      expect(errors).toBeGreaterThan(0);
    });
  }

  test('gives bytes or EIO, and never hangs: 100 of them', async () => {
    let state = 20241113;
    const random = (below: number): number => {
      // Numerical Recipes' generator: the same images each time.
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const images = await Promise.all(foreignKinds.map(async ({ file }) => readFile(join(folder, file))));
    let whole = 0;
    let failed = 0;
    const attempt = async (count: number): Promise<void> => {
      const kind = foreignKinds[count % foreignKinds.length];
      const image = images[count % foreignKinds.length];
      if (!kind || !image) throw new Error('no kind');
      const bytes = Buffer.from(image);
      // Where the structures are: what lies in the data is only other data.
      for (let flips = 1 + random(8); flips > 0; flips--) {
        const at = random(2) === 0 ? random(1024) : random(Math.min(bytes.length, 300_000));
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
      }
      const file = await open(join(folder, `damaged-${count}`), 'w');
      await file.write(bytes);
      await file.close();
      const disk = await opened(`damaged-${count}`, kind.format).catch((error: unknown) => {
        expect(error).toMatchObject({ name: 'StillError', code: 'EIO' });
        return undefined;
      });
      if (!disk) {
        failed++;
        return;
      }
      const target = Buffer.alloc(M);
      let good = true;
      for (let at = 0; at < Math.min(disk.size, 16 * M); at += M) {
        const part = target.subarray(0, Math.min(M, disk.size - at));
        await disk.read(at, part).catch((error: unknown) => {
          expect(error).toMatchObject({ name: 'StillError', code: 'EIO' });
          good = false;
        });
      }
      if (good) whole++;
      else failed++;
      await disk.close();
    };
    const numbers = Array.from({ length: 100 }, (_, count) => count);
    const worker = async (): Promise<void> => {
      for (let next = numbers.pop(); next !== undefined; next = numbers.pop()) await attempt(next);
    };
    await Promise.all([worker(), worker(), worker()]);
    // Both happen, or the damage is not where it matters.
    expect(whole).toBeGreaterThan(10);
    expect(failed).toBeGreaterThan(10);
    expect(whole + failed).toBe(100);
  });
});

const M = 1 << 20;

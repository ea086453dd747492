import { linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openNtfs } from '../../src/filesystems/ntfs/ntfs.js';
import { makeNode, setXattr } from '../corpus/odd-calls.js';
import { makeSystemCompressed, packedByWimlib } from '../src/filesystems/ntfs/system-compressed.js';
import {
  extendedAttribute,
  makeVolume,
  mountedByNtfs3g,
  setNtfs,
  takeVolume,
} from '../src/filesystems/ntfs/volumes.js';
import {
  type Fuzzed,
  type Fuzzing,
  fileSystemTree,
  fuzzBytes,
  type Limits,
  type OpenImage,
  type Original,
} from './fuzzing.js';

const limits: Limits = { milliseconds: 5000, bufferBytes: 192 << 20, inode: 2n ** 44n };

/** Damages NTFS volumes where their structure is. */
export async function fuzzNtfs(fuzzing: Fuzzing): Promise<Fuzzed> {
  const originals = await makeOriginals(fuzzing.folder);
  const open: OpenImage = (disk, problem) => fileSystemTree(openNtfs, disk, problem);
  return fuzzBytes(fuzzing, limits, { originals, most: 3, cutEach: 25, damage, open });
}

/** Ranges worth damaging. */
type Ranges = ReadonlyArray<readonly [from: number, to: number]>;

async function makeOriginals(folder: string): Promise<Original<Ranges>[]> {
  const kinds = [
    ['as it is made', ['-C']],
    ['small clusters', ['-C', '-c', '512']],
    ['sectors of 4 KiB', ['-C', '-s', '4096']],
    ['large clusters', ['-c', '16384']],
  ] as const;
  const packed = join(folder, 'packed');
  mkdirSync(packed);
  for (const size of compressedSizes) writeFileSync(join(packed, `${size}`), text.subarray(0, size));
  const chunks = packedByWimlib(packed, 4096);
  const originals: Original<Ranges>[] = [];
  for (const [name, options] of kinds) {
    const image = join(folder, 'original');
    await makeVolume(image, 4 << 20, ...options);
    await mountedByNtfs3g(image, 'rw', fill);
    await mountedByNtfs3g(image, 'streams_interface=windows', async (root) => {
      for (const [size, bytes] of chunks)
        if (compressedSizes.includes(size)) await makeSystemCompressed(join(root, `${size}`), size, bytes, 0);
    });
    const bytes = await takeVolume(image);
    originals.push({ name, bytes, places: placesOf(bytes) });
  }
  return originals;
}

const text = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(2000));
/** Of files that Windows has compressed by itself. */
const compressedSizes = [5001, 40_001];

/** Every form of files, folders and attributes that fits. */
async function fill(root: string): Promise<void> {
  const at = (...names: string[]): string => join(root, ...names);
  mkdirSync(at('a', 'b'), { recursive: true });
  for (const size of [0, 1, 600, 5000, 70_000]) writeFileSync(at('a', `${size}`), text.subarray(0, size));
  mkdirSync(at('large'));
  for (let each = 0; each < 90; each++) writeFileSync(at('large', `${each}${'n'.repeat(100)}`), `${each}`);
  mkdirSync(at('packed'));
  await setNtfs(at('packed'), 'ntfs_attrib_be', '00000800');
  for (const size of [4000, 65_536, 90_000]) writeFileSync(at('packed', `${size}`), text.subarray(0, size));
  writeFileSync(at('packed', 'sparse'), text);
  truncateSync(at('packed', 'sparse'), 400_000);
  writeFileSync(at('sparse'), 'data');
  truncateSync(at('sparse'), 2 ** 40);
  for (let each = 0; each < 30; each++)
    linkSync(at('a', '600'), at('a', 'b', `one more name of this file ${each}`));
  for (let each = 0; each < 25; each++)
    setXattr(Buffer.from(at('a', '5000')), `user.stream ${each}`, text.subarray(0, each * 80));
  symlinkSync('a/600', at('link'));
  makeNode(Buffer.from(at('null')), 'character', 1, 3);
  makeNode(Buffer.from(at('fifo')), 'fifo');
  const target = Buffer.from('\\??\\C:\\a\\B\\', 'utf16le').toString('hex');
  const length = (target.length / 2).toString(16).padStart(2, '0');
  const data = `0000${length}00${length}000000${target}`;
  mkdirSync(at('junction'));
  const dataLength = (data.length / 2).toString(16).padStart(2, '0');
  await setNtfs(at('junction'), 'ntfs_reparse_data', `030000a0${dataLength}000000${data}`);
  writeFileSync(at('of-linux'), '');
  const attributes = ['$LXUID', '$LXMOD', 'user.linux'].map((name) =>
    extendedAttribute(name, Buffer.alloc(4, 1)),
  );
  await setNtfs(at('of-linux'), 'ntfs_ea', attributes.join(''));
}

/** The boot sector, records and blocks of indexes, what lies in clusters beside them: the more of it hangs on something, the oftener. */
function placesOf(bytes: Buffer): Array<readonly [number, number]> {
  const places: Array<readonly [number, number]> = Array.from({ length: 12 }, () => [0, 84] as const);
  for (let at = 0; at + 1024 <= bytes.length; at += 512) {
    const magic = bytes.toString('latin1', at, at + 4);
    if (magic === 'FILE' && (bytes.readUInt16LE(at + 22) & 1) !== 0) {
      const used = [at, at + bytes.readUInt32LE(at + 24)] as const;
      places.push([at, at + 48], used, used, used);
    } else if (magic === 'INDX') {
      const used = [at, at + 24 + bytes.readUInt32LE(at + 28)] as const;
      places.push([at, at + 64], used, used);
    } else if (at % 4096 === 0 && bytes[at] !== 0 && bytes[at] !== 0xff) {
      places.push([at, at + 256]);
    }
  }
  return places;
}

const extremes64 = [0n, -1n, 1n << 63n, (1n << 53n) - 1n, 1n << 32n, (1n << 63n) - 1n];
const extremes32 = [0, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff, 0x100_0000];

/** Changes something and says what. */
function damage(bytes: Buffer, places: Ranges, random: () => number): string {
  const [from, to] = places[random() % places.length] ?? [0, 1];
  const at = Math.min(from + (random() % (to - from)), bytes.length - 8);
  switch (random() % 8) {
    case 0:
      bytes[at] = random() % 256;
      return `byte ${at} = ${bytes[at]}`;
    case 1: {
      const value = BigInt.asUintN(64, extremes64[random() % extremes64.length] ?? 0n);
      bytes.writeBigUInt64LE(value, at & ~7);
      return `8 bytes at ${at & ~7} = ${value}`;
    }
    case 2: {
      const value = extremes32[random() % extremes32.length] ?? 0;
      bytes.writeUInt32LE(value, at & ~3);
      return `4 bytes at ${at & ~3} = ${value}`;
    }
    case 3: {
      const value = random() % 65536;
      bytes.writeUInt16LE(value, at & ~1);
      return `2 bytes at ${at & ~1} = ${value}`;
    }
    case 4: {
      const count = 1 + (random() % 64);
      const other = random() % bytes.length;
      bytes.copy(bytes, at, other, other + count);
      return `${count} bytes at ${at} = those at ${other}`;
    }
    case 5: {
      const value = random() % 100;
      bytes.writeUInt32LE(value, at & ~3);
      return `4 bytes at ${at & ~3} = ${value}`;
    }
    default: {
      const bit = random() % 8;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
      return `bit ${bit} of byte ${at} flipped`;
    }
  }
}

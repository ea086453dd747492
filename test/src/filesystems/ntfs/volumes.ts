import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, rmdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Disk } from '../../../../src/disks/disk.js';
import { FileSystemTree } from '../../../../src/filesystems/file-system-tree.js';
import { openNtfs } from '../../../../src/filesystems/ntfs/ntfs.js';
import { Problems } from '../../../../src/problems.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { unhurried } from '../../archives/host-folder/walk.js';
import { BytesDisk } from '../../archives/squashfs/bytes-disk.js';

const run = promisify(execFile);

/** Makes a volume of so many bytes. */
export async function makeVolume(image: string, bytes: number, ...options: string[]): Promise<void> {
  await rm(image, { force: true });
  await writeFile(image, '');
  await truncate(image, bytes);
  await run('mkntfs', ['-F', '-q', '-Q', ...options, image]);
}

/** Mounts a volume with ntfs-3g while `use` uses it. */
export async function mountedByNtfs3g<T>(
  image: string,
  options: string,
  use: (folder: string) => T | Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(`${image}-by-ntfs-3g-`);
  try {
    await run('ntfs-3g', ['-o', `streams_interface=xattr,${options}`, image, folder]);
    try {
      return await use(folder);
    } finally {
      await run('umount', [folder]);
    }
  } finally {
    await rmdir(folder);
  }
}

/** Sets what only Windows and ntfs-3g know of a file (`ntfs_attrib`, `ntfs_reparse_data`), by its hexadecimal digits. */
export async function setNtfs(path: string, what: string, hex: string): Promise<void> {
  await run('setfattr', ['-h', '-n', `system.${what}`, '-v', `0x${hex}`, path]);
}

/** An entry of `system.ntfs_ea`, by its hexadecimal digits. */
export function extendedAttribute(name: string, value: Buffer): string {
  const entry = Buffer.alloc(Math.ceil((8 + name.length + 1 + value.length) / 4) * 4);
  entry.writeUInt32LE(entry.length, 0);
  entry.writeUInt8(name.length, 5);
  entry.writeUInt16LE(value.length, 6);
  entry.write(name, 8, 'latin1');
  value.copy(entry, 8 + name.length + 1);
  return entry.toString('hex');
}

/** Makes a small volume and gives its bytes. */
export async function smallVolume(
  folder: string,
  fill: (root: string) => void | Promise<void>,
  ...options: string[]
): Promise<Buffer> {
  const image = join(folder, 'small.img');
  await makeVolume(image, 4 << 20, ...options);
  await mountedByNtfs3g(image, 'rw', fill);
  return takeVolume(image);
}

/** The bytes of a volume, which is removed. */
export async function takeVolume(image: string): Promise<Buffer> {
  const bytes = await readFile(image);
  await rm(image);
  return bytes;
}

export interface OpenedVolume {
  readonly tree: Tree;
  readonly problems: readonly string[];
}

export async function openVolume(disk: Disk): Promise<OpenedVolume> {
  const found: string[] = [];
  const problems = new Problems((sentence) => found.push(sentence));
  const fileSystem = await openNtfs(disk, {
    signal: unhurried,
    problem: (sentence) => problems.add(sentence),
  });
  return { tree: new FileSystemTree(fileSystem, problems), problems: found };
}

export const openBytes = (bytes: Buffer): Promise<OpenedVolume> => openVolume(new BytesDisk(bytes));

/** Where an MFT record lies in a volume whose table is in one piece. */
export function recordPlace(bytes: Buffer, number: bigint | number): number {
  const cluster = bytes.readUInt16LE(11) * bytes.readUInt8(13);
  return Number(bytes.readBigUInt64LE(48)) * cluster + Number(number) * recordBytes;
}
export const recordBytes = 1024;

/** Where an attribute of a record lies, the first of its type; its name may be said. */
export function attributePlace(bytes: Buffer, number: bigint | number, type: number, name = ''): number {
  const record = recordPlace(bytes, number);
  for (let at = record + bytes.readUInt16LE(record + 20); at < record + recordBytes; ) {
    const nameAt = at + bytes.readUInt16LE(at + 10);
    const found = bytes.toString('utf16le', nameAt, nameAt + 2 * bytes.readUInt8(at + 9));
    if (bytes.readUInt32LE(at) === type && found === name) return at;
    if (bytes.readUInt32LE(at) === 0xffff_ffff) break;
    at += bytes.readUInt32LE(at + 4);
  }
  throw new Error(`record ${number} has no attribute ${type.toString(16)} ${name}`);
}

/** Where the first cluster of an attribute that is not resident lies. */
export function firstRunPlace(bytes: Buffer, attribute: number): number {
  const cluster = bytes.readUInt16LE(11) * bytes.readUInt8(13);
  const pairs = attribute + bytes.readUInt16LE(attribute + 32);
  const [lengthBytes, placeBytes] = [bytes.readUInt8(pairs) & 15, bytes.readUInt8(pairs) >>> 4];
  return bytes.readUIntLE(pairs + 1 + lengthBytes, placeBytes) * cluster;
}

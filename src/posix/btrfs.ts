import { hasCode, StillError } from '../errors.js';
import { type Name, nameFromBytes, nameToBytes, nameToText } from '../name.js';
import { systemCall } from './call.js';

// linux/btrfs.h, linux/btrfs_tree.h
const ioctl = systemCall('int ioctl(int descriptor, unsigned long request, void *argument)', 'a btrfs ioctl');
const BTRFS_IOC_SYNC = 0x9408;
const BTRFS_IOC_SNAP_DESTROY = 0x5000940f;
const BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417;
const BTRFS_IOC_FS_INFO = 0x8400941f;
const BTRFS_IOC_GET_SUBVOL_ROOTREF = 0xd000943d;
const BTRFS_IOC_INO_LOOKUP_USER = 0xd000943e;
const BTRFS_SUBVOL_RDONLY = 2n;

/** The inode of every subvolume's own folder: BTRFS_FIRST_FREE_OBJECTID. */
export const subvolumeInode = 256;

/** All arguments of these calls have this size, but for that of FS_INFO. */
const argumentBytes = 4096;
const fileSystemBytes = 1024;
const mostReferences = 255;

/** The UUID of the file system that a folder lies on, in hexadecimal digits. ENOTTY: it is no btrfs. */
export async function btrfsUuid(folder: number): Promise<string> {
  const info = Buffer.alloc(fileSystemBytes); // u64 highest device, u64 devices, u8 uuid[16]…
  await ioctl.later('a folder', folder, BTRFS_IOC_FS_INFO, info);
  return info.toString('hex', 16, 32);
}

/** A subvolume that lies in another one. */
export interface NestedSubvolume {
  readonly id: bigint;
  /** Its path within the other one. */
  readonly path: Name;
}

/** The subvolumes that lie directly in a subvolume, whose own folder is open. Not those that lie in these. */
export async function nestedSubvolumes(subvolume: number): Promise<NestedSubvolume[]> {
  const found: NestedSubvolume[] = [];
  for (let next = 0n; ; ) {
    // u64 the first id wanted, then pairs of u64 id and folder's inode, then their count
    const references = Buffer.alloc(argumentBytes);
    references.writeBigUInt64LE(next, 0);
    let more = false;
    try {
      await ioctl.later('a subvolume', subvolume, BTRFS_IOC_GET_SUBVOL_ROOTREF, references);
    } catch (error) {
      if (!hasCode(error, 'EOVERFLOW')) throw error;
      more = true;
    }
    const count = references.readUInt8(8 + mostReferences * 16);
    for (let at = 8; at < 8 + count * 16; at += 16) {
      const id = references.readBigUInt64LE(at);
      const path = await nestedPath(subvolume, id, references.readBigUInt64LE(at + 8));
      if (path !== undefined) found.push({ id, path });
    }
    if (!more) return found;
    next = references.readBigUInt64LE(0);
  }
}

/** Undefined for one that went away meanwhile. */
async function nestedPath(subvolume: number, id: bigint, folder: bigint): Promise<Name | undefined> {
  // u64 folder, u64 id, char name[256], char path[3824] of the folder, with a `/` at its end
  const lookup = Buffer.alloc(argumentBytes);
  lookup.writeBigUInt64LE(folder, 0);
  lookup.writeBigUInt64LE(id, 8);
  try {
    await ioctl.later('a nested subvolume', subvolume, BTRFS_IOC_INO_LOOKUP_USER, lookup);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  const text = (at: number): Buffer => lookup.subarray(at, lookup.indexOf(0, at));
  return nameFromBytes(Buffer.concat([text(272), text(16)]));
}

/** Makes a read-only snapshot of a subvolume, by its open folder, in another open folder of the same file system. */
export async function snapshotSubvolume(subvolume: number, folder: number, name: Name): Promise<void> {
  // s64 subvolume, u64 transaction, u64 flags, u64 unused[4], char name[4040]
  const creation = Buffer.alloc(argumentBytes);
  creation.writeBigInt64LE(BigInt(subvolume), 0);
  creation.writeBigUInt64LE(BTRFS_SUBVOL_RDONLY, 16);
  putName(creation, 56, name);
  await ioctl.later(`snapshot ${nameToText(name)}`, folder, BTRFS_IOC_SNAP_CREATE_V2, creation);
}

/** Deletes a subvolume in an open folder, though files in it be open. ENOENT: there is none of that name. */
export async function deleteSubvolume(folder: number, name: Name): Promise<void> {
  const destruction = Buffer.alloc(argumentBytes); // s64 unused, char name[4088]
  putName(destruction, 8, name);
  await ioctl.later(`subvolume ${nameToText(name)}`, folder, BTRFS_IOC_SNAP_DESTROY, destruction);
}

/** Has the file system of an open folder write all that it holds, and what was made and deleted in it. */
export async function syncBtrfs(folder: number): Promise<void> {
  await ioctl.later('a btrfs', folder, BTRFS_IOC_SYNC, null);
}

function putName(argument: Buffer, at: number, name: Name): void {
  const bytes = nameToBytes(name);
  if (bytes.length === 0 || bytes.length > 255)
    throw new StillError('ENAMETOOLONG', `${nameToText(name)} can't be the name of a subvolume`);
  bytes.copy(argument, at);
}

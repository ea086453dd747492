import { createHash } from 'node:crypto';
import type { Inode } from '../../src/tree/attributes.js';

/**
 * A node's number in the whole mount, which is its nodeid for the kernel and its st_ino for everybody: the number of
 * its tree in the upper 20 bits, its inode in that tree in the lower 44. So two trees never share a number, and the
 * number alone leads back to the file (an NFS server asks for nodes that the kernel has long forgotten).
 */
export type NodeNumber = bigint;

const inodeBits = 44n;
const inodeMask = (1n << inodeBits) - 1n;
/** Set where the inode is too large, and the bits below are a hash of it. */
const hashed = 1n << (inodeBits - 1n);

/** How many trees a mount can tell apart. */
export const treeNumbers = 1 << 20;

/** The root of the mount: tree 0, inode 1, which is FUSE_ROOT_ID. */
export const rootNumber: NodeNumber = 1n;

export function nodeNumber(tree: number, inode: Inode): NodeNumber {
  const lower = inode < hashed ? inode : hashed | (hash(`inode ${inode}`) & (hashed - 1n));
  return (BigInt(tree) << inodeBits) | lower;
}

export function treeOf(number: NodeNumber): number {
  return Number(number >> inodeBits);
}

/** The inode that a number tells; undefined where it was too large to be told. */
export function inodeOf(number: NodeNumber): Inode | undefined {
  const lower = number & inodeMask;
  return lower & hashed ? undefined : lower;
}

/** Where to begin looking for a free tree number: from the graft's place, so that the next mount finds the same. */
export function preferredTreeNumber(parent: number, folder: Inode): number {
  return Number(hash(`tree ${parent} ${folder}`) % BigInt(treeNumbers - 1)) + 1;
}

function hash(text: string): bigint {
  return createHash('sha1').update(text).digest().readBigUInt64LE(0);
}

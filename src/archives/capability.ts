import { StillError } from '../errors.js';
import { type IdMap, idInside } from '../id-map.js';

// linux/capability.h: u32 magic and flags, then pairs of u32 permitted and inheritable, low bits first; version 3 ends
// with the user who is root where the capabilities count.
const VFS_CAP_REVISION_MASK = 0xff00_0000;
const VFS_CAP_FLAGS_EFFECTIVE = 1;
const pairsOf: Readonly<Record<number, number>> = { 1: 1, 2: 2, 3: 2 };

/** The capabilities of a program file: `security.capability`. */
export interface FileCapability {
  readonly revision: 1 | 2 | 3;
  readonly effective: boolean;
  /** One bit for each capability. */
  readonly permitted: bigint;
  readonly inheritable: bigint;
  /** Of revision 3: the id of the user who is root in the user namespace where the capabilities count. */
  readonly root?: number;
}

/** Reads a value of `security.capability`. EIO: it is none. */
export function parseFileCapability(value: Uint8Array): FileCapability {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const magic = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0;
  const revision = (magic & VFS_CAP_REVISION_MASK) >>> 24;
  const pairs = pairsOf[revision];
  if (!isRevision(revision) || pairs === undefined || bytes.length !== sizeOf(revision)) {
    throw new StillError(
      'EIO',
      `${bytes.length} bytes with the head ${magic.toString(16)} are no file capability`,
    );
  }
  let permitted = 0n;
  let inheritable = 0n;
  for (let pair = 0; pair < pairs; pair++) {
    permitted |= BigInt(bytes.readUInt32LE(4 + pair * 8)) << BigInt(32 * pair);
    inheritable |= BigInt(bytes.readUInt32LE(8 + pair * 8)) << BigInt(32 * pair);
  }
  const effective = (magic & VFS_CAP_FLAGS_EFFECTIVE) !== 0;
  return {
    revision,
    effective,
    permitted,
    inheritable,
    ...(revision === 3 && { root: bytes.readUInt32LE(20) }),
  };
}

/** The value of an extended attribute that holds this capability. */
export function encodeFileCapability(capability: FileCapability): Uint8Array {
  const { revision, effective, permitted, inheritable, root } = capability;
  const bytes = Buffer.alloc(sizeOf(revision));
  bytes.writeUInt32LE(((revision << 24) | (effective ? VFS_CAP_FLAGS_EFFECTIVE : 0)) >>> 0, 0);
  for (let pair = 0; pair < (pairsOf[revision] ?? 0); pair++) {
    bytes.writeUInt32LE(Number((permitted >> BigInt(32 * pair)) & 0xffff_ffffn), 4 + pair * 8);
    bytes.writeUInt32LE(Number((inheritable >> BigInt(32 * pair)) & 0xffff_ffffn), 8 + pair * 8);
  }
  if (revision === 3) bytes.writeUInt32LE(root ?? 0, 20);
  return bytes;
}

/**
 * The same capability as it is seen inside. One that counts where id 0 inside is root is told there without saying so
 * (revision 2), as the kernel does it (cap_inode_getsecurity in security/commoncap.c).
 */
export function fileCapabilityInside(value: Uint8Array, map: IdMap): Uint8Array {
  const { root, ...capability } = parseFileCapability(value);
  if (root === undefined) return value;
  const inside = idInside(map, root);
  return encodeFileCapability(
    inside === 0 ? { ...capability, revision: 2 } : { ...capability, root: inside },
  );
}

function isRevision(revision: number): revision is FileCapability['revision'] {
  return revision === 1 || revision === 2 || revision === 3;
}

function sizeOf(revision: FileCapability['revision']): number {
  return 4 + (pairsOf[revision] ?? 0) * 8 + (revision === 3 ? 4 : 0);
}

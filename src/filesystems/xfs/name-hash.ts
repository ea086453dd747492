import type { Name } from '../../name.js';

/** The hash of a name in folders and attributes: xfs_da_hashname of linux/fs/xfs/libxfs/xfs_da_btree.c. */
export function nameHash(name: Name, ignoresCase: boolean): number {
  let hash = 0;
  if (ignoresCase) {
    for (let at = 0; at < name.length; at++) hash = lowerCase(name.charCodeAt(at)) ^ rotated(hash, 7);
    return hash >>> 0;
  }
  let at = 0;
  for (; at + 4 <= name.length; at += 4) {
    hash =
      (name.charCodeAt(at) << 21) ^
      (name.charCodeAt(at + 1) << 14) ^
      (name.charCodeAt(at + 2) << 7) ^
      name.charCodeAt(at + 3) ^
      rotated(hash, 28);
  }
  const left = name.length - at;
  if (left > 0) {
    hash = rotated(hash, left * 7);
    for (; at < name.length; at++) hash ^= name.charCodeAt(at) << ((name.length - 1 - at) * 7);
  }
  return hash >>> 0;
}

function rotated(hash: number, bits: number): number {
  return (hash << bits) | (hash >>> (32 - bits));
}

/** Names that are the same without regard to case. Only ASCII and ISO 8859-1 letters have one here. */
export function areAlike(one: Name, other: Name): boolean {
  if (one.length !== other.length) return false;
  for (let at = 0; at < one.length; at++) {
    if (lowerCase(one.charCodeAt(at)) !== lowerCase(other.charCodeAt(at))) return false;
  }
  return true;
}

function lowerCase(byte: number): number {
  const isUpper = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0xc0 && byte <= 0xde && byte !== 0xd7);
  return isUpper ? byte + 32 : byte;
}

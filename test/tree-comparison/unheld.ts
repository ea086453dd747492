import type { Difference } from './difference.js';

/** GNU tar keeps no sockets, no second names of fifos, and no hole that is shorter than its blocks. */
export const isUnheldByTar = ({ path, aspect }: Difference): boolean =>
  (aspect === 'presence' && path === 'nodes/socket') ||
  (aspect === 'links' && path.startsWith('nodes/fifo')) ||
  (aspect === 'holes' && path === 'holes/a-byte-of-hole');

/** squashfs 4 keeps whole unsigned seconds, and no POSIX ACLs. */
export function isUnheldBySquashfs({ aspect, expected, actual }: Difference): boolean {
  if (aspect === 'modified') {
    const [before, after] = [BigInt(expected), BigInt(actual)];
    const second = 1_000_000_000n;
    return after === before - (before % second) || before < 0n || before / second > 0xffff_ffffn;
  }
  return aspect === 'xattrs' && /posix_acl/.test(expected) && actual.endsWith(': none');
}

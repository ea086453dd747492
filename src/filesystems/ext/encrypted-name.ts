import { createHash } from 'node:crypto';
import type { Name } from '../../name.js';
import type { NameHash } from './directory-hash.js';

// linux fs/crypto/fname.c: struct fscrypt_nokey_name, in the letters of base64url
const mostBytes = 149;
const hashBytes = 8;

/**
 * The name that Linux shows for an encrypted one where it has no key: its hash, its bytes, and a digest of those that
 * have no room.
 */
export function nameWithoutKey(encrypted: Buffer, { major, minor }: NameHash): Name {
  const head = Buffer.alloc(hashBytes);
  head.writeUInt32LE(major, 0);
  head.writeUInt32LE(minor, 4);
  const parts = [head, encrypted.subarray(0, mostBytes)];
  if (encrypted.length > mostBytes)
    parts.push(createHash('sha256').update(encrypted.subarray(mostBytes)).digest());
  return Buffer.concat(parts).toString('base64url') as Name;
}

/** The hash in such a name; undefined where it is none. */
export function hashInName(name: Name): number | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(name)) return undefined;
  const bytes = Buffer.from(name, 'base64url');
  return bytes.length > hashBytes ? bytes.readUInt32LE(0) : undefined;
}

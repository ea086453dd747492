import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { type Name, nameToText } from '../../../../src/name.js';
import { O_PATH } from '../../../../src/posix/openat2.js';
import { readlinkOf } from '../../../../src/posix/readlink.js';
import { getXattr, listXattrs } from '../../../../src/posix/xattr.js';
import { timeFromNanoseconds } from '../../../../src/time.js';
import type { Attributes } from '../../../../src/tree/attributes.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { unhurried, walk } from '../host-folder/walk.js';

/** All that can be told of a file, as lines that can be compared. */
export type Description = Record<string, unknown>;

/** Which fields an archive can hold; the others are left out of both descriptions. */
export interface Comparable {
  readonly nanoseconds: boolean;
  readonly xattrs: boolean;
  readonly holes: boolean;
}

const chunk = 1 << 20;

/** Everything in a tree, by path. */
export async function describeTree(tree: Tree, comparable: Comparable): Promise<Map<string, Description>> {
  const described = new Map<string, Description>();
  const firstName = new Map<bigint, string>();
  for await (const { path, attributes } of walk(tree)) {
    const sameAs = firstName.get(attributes.inode) ?? path;
    firstName.set(attributes.inode, sameAs);
    described.set(path, await describeFile(tree, attributes, comparable, sameAs));
  }
  described.set('', await describeFile(tree, await tree.attributes(tree.root, unhurried), comparable, ''));
  return described;
}

async function describeFile(
  tree: Tree,
  attributes: Attributes,
  comparable: Comparable,
  sameAs: string,
): Promise<Description> {
  const { inode, type, permissions, links, uid, gid, size, device, modified } = attributes;
  const xattrs: Record<string, string> = {};
  if (comparable.xattrs) {
    for (const name of [...(await tree.xattrs(inode, unhurried))].sort())
      xattrs[name] = Buffer.from(await tree.xattr(inode, name, unhurried)).toString('hex');
  }
  return {
    type,
    // Linux gives all symlinks the same.
    permissions: type === 'symlink' ? 0o777 : permissions,
    uid,
    gid,
    // How many a folder has is the file system's (btrfs: 1).
    ...(type !== 'directory' && { links, sameAs }),
    ...(type === 'file' && { size }),
    ...(device && { device: `${device.major}:${device.minor}` }),
    modified: comparable.nanoseconds ? `${modified.seconds}.${modified.nanoseconds}` : modified.seconds,
    ...(comparable.xattrs && { xattrs }),
    ...(type === 'symlink' && { target: Buffer.from(await tree.readlink(inode, unhurried)).toString('hex') }),
    ...(type === 'file' && (await contentOf(tree, attributes, comparable))),
  };
}

async function contentOf(
  tree: Tree,
  { inode, size }: Attributes,
  comparable: Comparable,
): Promise<Description> {
  const { handle } = await tree.open(inode, 'read', unhurried);
  const seek = (offset: number, wanted: 'data' | 'hole'): Promise<number> =>
    tree.seek?.(handle, offset, wanted, unhurried) ?? Promise.reject(new Error('the tree has no seek'));
  const hash = createHash('sha256');
  const data: string[] = [];
  for (let at = 0; at < size; ) {
    const from = await seek(at, 'data').catch(() => size);
    const to = from < size ? await seek(from, 'hole') : size;
    if (from < size) data.push(`${from}-${to}`);
    await hashRange(hash, from, to, (offset, target) => tree.read(handle, offset, target, unhurried));
    at = to;
  }
  await tree.release(handle);
  return { sha256: hash.digest('hex'), ...(comparable.holes && { data }) };
}

/** A hash of the bytes and of where they lie: zeros count for nothing, wherever a file system has a hole. */
async function hashRange(
  hash: ReturnType<typeof createHash>,
  from: number,
  to: number,
  read: (offset: number, target: Buffer) => number | Promise<number>,
): Promise<void> {
  for (let at = from; at < to; at += chunk) {
    const bytes = Buffer.alloc(Math.min(chunk, to - at));
    const length = await read(at, bytes);
    if (length !== bytes.length) throw new Error(`read ${length} of ${bytes.length} bytes at ${at}`);
    for (let page = 0; page < length; page += 512) {
      const part = bytes.subarray(page, page + 512);
      if (part.some((byte) => byte !== 0)) hash.update(`${at + page}:`).update(part);
    }
  }
}

/** Everything in a folder of this machine, by path, in the same form. */
export async function describeFolder(
  folder: string,
  comparable: Comparable,
): Promise<Map<string, Description>> {
  const described = new Map<string, Description>();
  const names = new Map<string, string>();
  const pending: Array<{ descriptor: number; path: string }> = [
    { descriptor: openSync(folder, O_PATH), path: '' },
  ];
  for (let each = pending.pop(); each; each = pending.pop()) {
    const { descriptor, path } = each;
    try {
      described.set(path, await describeHostFile(descriptor, path, comparable, names));
      const here = `/proc/self/fd/${descriptor}`;
      if (!fstatSync(descriptor).isDirectory()) continue;
      for (const name of readdirSync(`${here}/`, { encoding: 'buffer' })) {
        const child = Buffer.concat([Buffer.from(`${here}/`), name]);
        const below = `${path}${path === '' ? '' : '/'}${name.toString('latin1')}`;
        pending.push({ descriptor: openSync(child, O_PATH | constants.O_NOFOLLOW), path: below });
      }
    } finally {
      closeSync(descriptor);
    }
  }
  // Names of one file are told by the first one that a walk meets: here, by the smallest; see `normalized`.
  return described;
}

async function describeHostFile(
  descriptor: number,
  path: string,
  comparable: Comparable,
  names: Map<string, string>,
): Promise<Description> {
  const here = `/proc/self/fd/${descriptor}`;
  const stats = fstatSync(descriptor, { bigint: true });
  const type = stats.isFile()
    ? 'file'
    : stats.isDirectory()
      ? 'directory'
      : stats.isSymbolicLink()
        ? 'symlink'
        : stats.isBlockDevice()
          ? 'block'
          : stats.isCharacterDevice()
            ? 'character'
            : stats.isFIFO()
              ? 'fifo'
              : 'socket';
  const sameAs = names.get(`${stats.ino}`) ?? path;
  names.set(`${stats.ino}`, sameAs);
  const xattrs: Record<string, string> = {};
  if (comparable.xattrs) {
    for (const name of (await listXattrs(descriptor)).sort())
      xattrs[name] = Buffer.from(await getXattr(descriptor, name)).toString('hex');
  }
  const modified = timeFromNanoseconds(stats.mtimeNs);
  const device = `${(stats.rdev >> 8n) & 0xfffn}:${(stats.rdev & 0xffn) | ((stats.rdev >> 12n) & 0xfff00n)}`;
  return {
    type,
    permissions: Number(stats.mode) & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    ...(type !== 'directory' && { links: Number(stats.nlink), sameAs }),
    ...(type === 'file' && { size: Number(stats.size) }),
    ...((type === 'block' || type === 'character') && { device }),
    modified: comparable.nanoseconds ? `${modified.seconds}.${modified.nanoseconds}` : modified.seconds,
    ...(comparable.xattrs && { xattrs }),
    ...(type === 'symlink' && { target: Buffer.from(await readlinkOf(descriptor)).toString('hex') }),
    ...(type === 'file' && (await hostContent(here, Number(stats.size), comparable))),
  };
}

async function hostContent(path: string, size: number, comparable: Comparable): Promise<Description> {
  const { seek } = await import('../../../../src/posix/seek.js');
  const descriptor = openSync(path, 'r');
  try {
    const hash = createHash('sha256');
    const data: string[] = [];
    for (let at = 0; at < size; ) {
      const from = await seek(descriptor, at, 'data').catch(() => size);
      const to = from < size ? await seek(descriptor, from, 'hole') : size;
      if (from < size) data.push(`${from}-${to}`);
      await hashRange(hash, from, to, (offset, target) =>
        readSync(descriptor, target, 0, target.length, offset),
      );
      at = to;
    }
    return { sha256: hash.digest('hex'), ...(comparable.holes && { data }) };
  } finally {
    closeSync(descriptor);
  }
}

/** The same with each file's group of names told by the smallest of them. */
export function normalized(described: Map<string, Description>): Map<string, Description> {
  const smallest = new Map<unknown, string>();
  for (const [path, { sameAs }] of described) {
    const before = smallest.get(sameAs);
    if (sameAs !== undefined && (before === undefined || path < before)) smallest.set(sameAs, path);
  }
  const result = new Map<string, Description>();
  for (const [path, description] of described) {
    const { sameAs } = description;
    result.set(path, sameAs === undefined ? description : { ...description, sameAs: smallest.get(sameAs) });
  }
  return result;
}

/** What differs, one line each, by path. */
export function differences(shown: Map<string, Description>, expected: Map<string, Description>): string[] {
  const ours = normalized(shown);
  const theirs = normalized(expected);
  const lines: string[] = [];
  for (const path of [...new Set([...ours.keys(), ...theirs.keys()])].sort()) {
    const our = ours.get(path);
    const their = theirs.get(path);
    const name = nameToText(path as Name).slice(-80);
    if (!our || !their) {
      lines.push(`${name}: ${our ? 'only in the tree' : 'only extracted'}`);
      continue;
    }
    for (const field of new Set([...Object.keys(our), ...Object.keys(their)])) {
      const [a, b] = [JSON.stringify(our[field]), JSON.stringify(their[field])];
      if (a !== b) lines.push(`${name}: ${field} is ${a?.slice(0, 120)}, extracted ${b?.slice(0, 120)}`);
    }
  }
  return lines;
}

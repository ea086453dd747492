import {
  type BigIntStats,
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { hasCode } from '../../../../src/errors.js';
import { nameToBytes } from '../../../../src/name.js';
import { O_PATH } from '../../../../src/posix/openat2.js';
import type { Attributes, FileType, Inode } from '../../../../src/tree/attributes.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { readXattrs } from '../../../tree-comparison/file-calls.js';
import { HardLinks } from '../../../tree-comparison/hard-links.js';
import { listAll, unhurried } from '../host-folder/walk.js';

const typeOf = new Map<number, FileType>([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'symlink'],
  [0o060000, 'block'],
  [0o020000, 'character'],
  [0o010000, 'fifo'],
  [0o140000, 'socket'],
]);
const chunk = 1 << 20;
/** Larger files are compared where they have data, and at their ends. */
const wholly = 8 << 20;

/** How a tree differs from a folder, a sentence each: names, stat fields, contents, symlinks, attributes, hard links. */
export async function differences(tree: Tree, folder: string): Promise<string[]> {
  const found: string[] = [];
  const links = new HardLinks();
  const compare = async (inode: Inode, descriptor: number, path: string): Promise<void> => {
    const here = `/proc/self/fd/${descriptor}`;
    const expected = readdirSync(here, { encoding: 'buffer' }).map((name) => name.toString('latin1'));
    const entries = await listAll(tree, inode);
    const names = entries.map(({ name }) => name as string);
    if (names.sort().join('/') !== expected.sort().join('/'))
      found.push(`${path} holds ${names}, not ${expected}`);
    for (const { name, found: listed } of entries) {
      const { attributes } = await tree.lookup(inode, name, unhurried);
      const at = Buffer.concat([Buffer.from(`${here}/`), nameToBytes(name)]);
      const below = `${path}/${name}`;
      if (!attributes) {
        found.push(`${below} is listed and not there`);
        continue;
      }
      const stats = lstatSync(at, { bigint: true });
      // Linux counts the bytes of extended attributes as room that the file takes up.
      const plain = (await tree.xattrs(attributes.inode, unhurried)).length === 0;
      for (const each of [attributes, listed?.attributes ?? attributes]) {
        const [actual, wanted] = [shown(each, plain), expectedOf(stats, plain)];
        if (actual !== wanted) found.push(`${below} is ${actual}, not ${wanted}`);
      }
      if (attributes.type !== 'directory' && !links.agree(`${stats.ino}`, `${attributes.inode}`))
        found.push(`${below} has other hard links`);
      found.push(...(await attributeDifferences(tree, attributes, at, below)));
      if (attributes.type === 'symlink') {
        const target = Buffer.from(await tree.readlink(attributes.inode, unhurried));
        if (!target.equals(readlinkSync(at, { encoding: 'buffer' })))
          found.push(`${below} leads to ${target}`);
      } else if (attributes.type === 'file') {
        const how = await contentDifference(tree, attributes, at);
        if (how !== undefined) found.push(`${below}: ${how}`);
      } else if (attributes.type === 'directory') {
        const next = openSync(at, O_PATH);
        try {
          await compare(attributes.inode, next, below);
        } finally {
          closeSync(next);
        }
      }
    }
  };
  const root = await tree.attributes(tree.root, unhurried);
  const stats = lstatSync(folder, { bigint: true });
  const [actual, wanted] = [shown(root, true), expectedOf(stats, true)];
  if (actual !== wanted) found.push(`the root is ${actual}, not ${wanted}`);
  const descriptor = openSync(folder, O_PATH);
  try {
    await compare(tree.root, descriptor, '');
  } finally {
    closeSync(descriptor);
  }
  return found;
}

function shown(attributes: Attributes, withRoom: boolean): string {
  const { type, permissions, links, uid, gid, size, allocated, accessed, modified, changed, device } =
    attributes;
  const times = [accessed, modified, changed].map(({ seconds, nanoseconds }) => `${seconds}.${nanoseconds}`);
  const ownDevice = device ? `${device.major}:${device.minor}` : '';
  return [
    type,
    permissions.toString(8),
    links,
    uid,
    gid,
    size,
    withRoom && Math.ceil(allocated / 512),
    ...times,
    ownDevice,
  ].join(' ');
}

function expectedOf(stats: BigIntStats, withRoom: boolean): string {
  const type = typeOf.get(Number(stats.mode & 0o170000n));
  const times = [stats.atimeNs, stats.mtimeNs, stats.ctimeNs].map(
    (time) => `${time / 1_000_000_000n}.${time % 1_000_000_000n}`,
  );
  const number = Number(stats.rdev);
  const device =
    type === 'block' || type === 'character'
      ? `${(number >>> 8) & 0xfff}:${(number & 0xff) | ((number >>> 12) & 0xfff00)}`
      : '';
  return [
    type,
    (stats.mode & 0o7777n).toString(8),
    stats.nlink,
    stats.uid,
    stats.gid,
    stats.size,
    withRoom && stats.blocks,
    ...times,
    device,
  ].join(' ');
}

/** None where the file system has none at all. */
function attributesOf(path: Buffer): Map<string, string> {
  try {
    return readXattrs(path);
  } catch (error) {
    if (hasCode(error, 'EOPNOTSUPP')) return new Map();
    throw error;
  }
}

async function attributeDifferences(
  tree: Tree,
  { inode }: Attributes,
  path: Buffer,
  shownPath: string,
): Promise<string[]> {
  const expected = attributesOf(path);
  const names = (await tree.xattrs(inode, unhurried)).filter(
    (name) => !/^security\.(?!capability$)/.test(name),
  );
  const found: string[] = [];
  if ([...names].sort().join() !== [...expected.keys()].sort().join())
    found.push(`${shownPath} has the attributes ${names}, not ${[...expected.keys()]}`);
  for (const name of names) {
    const value = Buffer.from(await tree.xattr(inode, name, unhurried)).toString('hex');
    if (value !== expected.get(name)) found.push(`${shownPath} has another ${name}: ${value.slice(0, 80)}`);
  }
  return found;
}

async function contentDifference(
  tree: Tree,
  { inode, size }: Attributes,
  path: Buffer,
): Promise<string | undefined> {
  const descriptor = openSync(path, 'r');
  const { handle } = await tree.open(inode, 'read', unhurried);
  try {
    const expected = Buffer.alloc(chunk);
    const actual = Buffer.alloc(chunk);
    for (let at = 0; at < size; ) {
      const length = readSync(descriptor, expected, 0, chunk, at);
      const read = await tree.read(handle, at, actual, unhurried);
      if (read !== length || !expected.subarray(0, length).equals(actual.subarray(0, length)))
        return `other bytes at ${at} (${read} of ${length})`;
      at += size > wholly && at + 2 * chunk < size ? Math.floor((size - at) / (2 * chunk)) * chunk : chunk;
    }
    if ((await tree.read(handle, size, actual, unhurried)) !== 0) return 'bytes beyond its end';
    return undefined;
  } finally {
    await tree.release(handle);
    closeSync(descriptor);
  }
}

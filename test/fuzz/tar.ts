import { readdir } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { hasCode, StillError } from '../../src/errors.js';
import { isEntryName } from '../../src/name.js';
import type { Inode } from '../../src/tree/attributes.js';
import type { Entry, Tree } from '../../src/tree/tree.js';
import { numbers } from '../corpus/qcow2-images.js';
import { bytesDisk } from '../src/archives/tar/file-disk.js';
import { archive, member, octal, pax, withChecksum } from '../src/archives/tar/made-archive.js';
import { type OpenedTar, openTar } from '../src/archives/tar/opened-tar.js';
import type { Fuzzing } from './fuzzing.js';
import { processorTime } from './processor-time.js';

export interface FuzzedTars {
  /** How many archives still showed files, and how many of those could be read without an error. */
  readonly shown: number;
  readonly readWhole: number;
  /** What must never happen, one sentence each, with what makes it happen again. */
  readonly findings: readonly string[];
}

/** Bytes of buffers that may be held, with those that wait for being collected. */
const mostBufferBytes = 160 << 20;
/** A computation that takes this long, of the processor's time, was made to. */
const mostMilliseconds = 5000;
const mostRead = 1 << 20;
const mostFiles = 5000;
const mostIndexBytes = 16 << 20;
const block = 512;
const unhurried = new AbortController().signal;

/**
 * Damages valid tar archives where their structure is, and reads what comes of it: each must give a tree whose every
 * file gives bytes or an error that says why, in time, and leaves nothing behind.
 */
export async function fuzzTar({ folder, seed, count }: Fuzzing): Promise<FuzzedTars> {
  const originals = makeArchives();
  const random = numbers(seed);
  const findings: string[] = [];
  let shown = 0;
  let readWhole = 0;
  const descriptorsBefore = (await readdir('/proc/self/fd')).length;
  for (let each = 0; each < count; each++) {
    const [name, original] = originals[random() % originals.length] ?? ['', Buffer.alloc(0)];
    let bytes: Buffer = Buffer.from(original);
    const changes: string[] = [];
    for (let left = 1 + (random() % 4); left > 0; left--) {
      const [change, changed] = damage(bytes, random);
      bytes = changed;
      changes.push(change);
    }
    const isPacked = random() % 8 === 0;
    const story = `seed ${seed}, case ${each}: ${name} with ${changes.join(', ')}${isPacked ? ', in gzip' : ''}`;
    const spent = processorTime();
    let opened: OpenedTar | undefined;
    try {
      opened = isPacked ? await openPacked(bytes, folder, random) : await openPlain(bytes);
      const { files, failures } = await walkTree(opened.tree);
      if (files > 0) shown++;
      if (files > 0 && failures === 0) readWhole++;
      if (opened.problems.length > 101)
        findings.push(`${story}: ${opened.problems.length} problems are told`);
    } catch (error) {
      findings.push(`${story}: ${error instanceof Error ? error.stack : error}`);
    } finally {
      await opened?.tree.close();
    }
    const milliseconds = spent();
    if (milliseconds > mostMilliseconds) findings.push(`${story}: took ${Math.round(milliseconds)} ms`);
    const { arrayBuffers } = process.memoryUsage();
    if (arrayBuffers > mostBufferBytes) findings.push(`${story}: ${arrayBuffers} bytes of buffers are held`);
  }
  const descriptorsAfter = (await readdir('/proc/self/fd')).length;
  if (descriptorsAfter > descriptorsBefore)
    findings.push(`seed ${seed}: ${descriptorsAfter - descriptorsBefore} descriptors were left open`);
  return { shown, readWhole, findings };
}

function openPlain(bytes: Buffer): Promise<OpenedTar> {
  return openTar(bytesDisk(bytes), { signal: unhurried, mostIndexBytes });
}

/** The archive in gzip, which may be damaged as well. */
async function openPacked(bytes: Buffer, cacheFolder: string, random: () => number): Promise<OpenedTar> {
  const parts: Buffer[] = [];
  await pipeline(Readable.from([bytes]), createGzip({ level: 1 }), async (packed: AsyncIterable<Buffer>) => {
    for await (const part of packed) parts.push(part);
  });
  const packed = Buffer.concat(parts);
  if (random() % 2 === 0) packed[random() % packed.length] = random() % 256;
  const options = {
    signal: unhurried,
    cacheFolder,
    identity: `${random()}`,
    mostIndexBytes,
    mostCacheBytes: 1 << 20,
  };
  return openTar(bytesDisk(packed), options, 'gzip');
}

/** Looks at everything in a tree, as far as its size is bearable. */
async function walkTree(tree: Tree): Promise<{ files: number; failures: number }> {
  let files = 0;
  let failures = 0;
  const folders: Inode[] = [tree.root];
  const seen = new Set<Inode>(folders);
  for (let folder = folders.pop(); folder !== undefined && files < mostFiles; folder = folders.pop()) {
    for (let after = 0n, rows: readonly Entry[]; ; after = rows.at(-1)?.cookie ?? after) {
      rows = await tree.list(folder, after, unhurried);
      if (rows.length === 0) break;
      for (const { name, inode, type } of rows) {
        files++;
        if (!isEntryName(name)) throw new Error(`the name ${JSON.stringify(name)} was listed`);
        const { attributes } = await tree.lookup(folder, name, unhurried);
        if (attributes?.inode !== inode)
          throw new Error(`${JSON.stringify(name)} was listed and is another file`);
        if (type === 'directory') {
          if (seen.has(inode)) throw new Error(`a folder has two places: inode ${inode}`);
          seen.add(inode);
          folders.push(inode);
        }
        if (!(await isReadable(tree, inode, type))) failures++;
      }
      if (files >= mostFiles) break;
    }
  }
  return { files, failures };
}

async function isReadable(tree: Tree, inode: Inode, type: Entry['type']): Promise<boolean> {
  try {
    for (const name of await tree.xattrs(inode, unhurried)) await tree.xattr(inode, name, unhurried);
    const attributes = await tree.attributes(inode, unhurried);
    mustBeWhole(attributes.size, attributes.allocated, attributes.modified.seconds, attributes.links);
    if (type === 'symlink') await tree.readlink(inode, unhurried);
    if (type !== 'file') return true;
    const { handle } = await tree.open(inode, 'read', unhurried);
    try {
      await readFileOf(tree, handle, attributes.size);
    } finally {
      await tree.release(handle);
    }
    return true;
  } catch (error) {
    if (!(error instanceof StillError) || hasCode(error, 'ESTALE')) throw error;
    return false;
  }
}

function mustBeWhole(...values: number[]): void {
  for (const value of values) {
    if (!Number.isSafeInteger(value)) throw new Error(`an attribute is ${value}`);
  }
}

async function readFileOf(tree: Tree, handle: number, size: number): Promise<void> {
  let places = 0;
  for (let at = 0; at < size && places < 100; places++) {
    const from = (await tree.seek?.(handle, at, 'data', unhurried).catch(() => size)) ?? size;
    if (from >= size) break;
    const to = (await tree.seek?.(handle, from, 'hole', unhurried)) ?? size;
    if (from < at || to <= from || to > size)
      throw new Error(`data from ${from} to ${to} after ${at} of ${size}`);
    at = to;
  }
  const chunk = Buffer.alloc(Math.min(size, mostRead));
  for (const at of new Set([0, Math.max(0, size - chunk.length)])) {
    const length = await tree.read(handle, at, chunk, unhurried);
    if (length !== Math.min(chunk.length, size - at))
      throw new Error(`${length} bytes were read at ${at} of ${size}`);
  }
}

type Archives = ReadonlyArray<readonly [name: string, bytes: Buffer]>;

function makeArchives(): Archives {
  const files = [
    member({ name: './', type: '5', mode: 0o755 }),
    member({ name: './a/', type: '5' }),
    member({ name: './a/file', data: 'x'.repeat(700) }),
    member({ name: './link', type: '1', target: './a/file' }),
    member({ name: './early', type: '1', target: './late' }),
    member({ name: './late', data: 'late' }),
    member({ name: './symlink', type: '2', target: '../../etc/passwd' }),
    member({
      name: './device',
      type: '3',
      fields: [
        [329, octal(8, 8)],
        [337, octal(1, 8)],
      ],
    }),
    member({ name: './fifo', type: '6' }),
  ];
  const long = [
    member({
      name: '././@LongLink',
      type: 'L',
      data: `${'n'.repeat(120)}/${'f'.repeat(90)}\0`,
      magic: 'gnu',
    }),
    member({ name: 'n', data: 'long', magic: 'gnu' }),
    member({ name: '././@LongLink', type: 'K', data: `${'t'.repeat(150)}\0`, magic: 'gnu' }),
    member({ name: 's', type: '2', magic: 'gnu' }),
  ];
  const extended = [
    pax({ uid: '70000', mtime: '5.25' }, 'g'),
    pax({
      path: 'ünïcödé',
      atime: '7.000000001',
      'SCHILY.xattr.user.name': 'value',
      'LIBARCHIVE.xattr.user.%41': 'dmFsdWU=',
      'SCHILY.acl.access': 'user::rw-,user:1000:r--,group::r--,mask::r--,other::---',
    }),
    member({ name: 'plain', data: 'content' }),
  ];
  const pair = (offset: number, length: number): string => octal(offset, 12) + octal(length, 12);
  const sparse = [
    member({
      name: 'old-sparse',
      type: 'S',
      magic: 'gnu',
      data: 'd'.repeat(1024),
      fields: [
        [386, pair(512, 512) + pair(4096, 512)],
        [483, octal(8192, 12)],
      ],
    }),
    pax({
      'GNU.sparse.major': '1',
      'GNU.sparse.minor': '0',
      'GNU.sparse.name': 'one',
      'GNU.sparse.realsize': '9000',
    }),
    member({
      name: 'GNUSparseFile.0/one',
      data: `2\n512\n512\n8192\n100\n`.padEnd(block, '\0') + 'e'.repeat(612),
    }),
    pax({
      'GNU.sparse.size': '5000',
      'GNU.sparse.numblocks': '1',
      'GNU.sparse.map': '1000,500',
      'GNU.sparse.name': 'zero',
    }),
    member({ name: 'zero', data: 'f'.repeat(500) }),
  ];
  return [
    ['files', archive(...files)],
    ['long names', archive(...long)],
    ['extended headers', archive(...extended)],
    ['sparse files', archive(...sparse)],
    ['all', archive(...files, ...long, ...extended, ...sparse)],
  ];
}

const extremes = ['0', '7'.repeat(11), '77777777777', '-1', ' ', '00000001000', '37777777777', 'zz'];
const fields: ReadonlyArray<readonly [at: number, length: number]> = [
  [100, 8],
  [108, 8],
  [116, 8],
  [124, 12],
  [124, 12],
  [136, 12],
  [156, 1],
  [157, 100],
  [257, 8],
  [329, 8],
  [337, 8],
  [345, 155],
  [386, 12],
  [398, 12],
  [482, 1],
  [483, 12],
];

/** Changes something and says what. What was a header has a good checksum again, as a rule, so that it is read. */
function damage(bytes: Buffer, random: () => number): [string, Buffer] {
  if (bytes.length === 0) return ['nothing left', bytes];
  const blocks = Math.max(1, Math.floor(bytes.length / block));
  const at = block * (random() % blocks);
  const place = Math.min(bytes.length - 1, at + (random() % block));
  const said = change();
  const header = bytes.subarray(at, at + block);
  if (header.length === block && header[148] !== 0 && random() % 10 !== 0) withChecksum(header);
  return said;

  function change(): [string, Buffer] {
    switch (random() % 7) {
      case 0:
        bytes[place] = random() % 256;
        return [`byte ${place} = ${bytes[place]}`, bytes];
      case 1: {
        const [offset, length] = fields[random() % fields.length] ?? [0, 1];
        const text = extremes[random() % extremes.length] ?? '';
        bytes.write(text.slice(0, length), Math.min(at + offset, bytes.length - 1), 'latin1');
        return [`field ${at}+${offset} = ${text}`, bytes];
      }
      case 2: {
        const [offset, length] = fields[random() % fields.length] ?? [0, 1];
        const from = Math.min(at + offset, bytes.length - 1);
        bytes.fill(random() % 2 === 0 ? 0xff : random() % 256, from, Math.min(bytes.length, from + length));
        if (random() % 2 === 0) bytes[from] = 0x80;
        return [`field ${at}+${offset} in base 256`, bytes];
      }
      case 3: {
        const types = '01234567DKLMNSVXgx\0Q';
        bytes.write(types[random() % types.length] ?? '0', Math.min(at + 156, bytes.length - 1), 'latin1');
        return [`type of block ${at}`, bytes];
      }
      case 4: {
        const other = block * (random() % blocks);
        bytes.copy(bytes, at, other, other + block);
        return [`block ${at} = block ${other}`, bytes];
      }
      case 5: {
        const digits = '9'.repeat(1 + (random() % 20));
        bytes.write(digits, place, 'latin1');
        return [`${digits.length} nines at ${place}`, bytes];
      }
      default: {
        if (random() % 3 > 0) return [`bit of ${place}`, flipped(bytes, place, random() % 8)];
        const length = random() % bytes.length;
        return [`cut to ${length}`, bytes.subarray(0, length)];
      }
    }
  }
}

function flipped(bytes: Buffer, at: number, bit: number): Buffer {
  bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
  return bytes;
}

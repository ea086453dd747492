import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { O_PATH } from '../../src/posix/openat2.js';
import { makeLink, makeNode, setTime, setXattr } from './odd-calls.js';

/** What a folder of oddities could not get. */
export interface Oddities {
  /** One sentence for each oddity that the file system can't hold. */
  readonly lacking: readonly string[];
}

/**
 * Fills an empty folder with everything that a container's files can be and that a copy can get wrong. Needs root, and
 * setfacl. Works on ext4, XFS, btrfs and tmpfs; what one of them can't hold is told.
 */
export function makeOddities(folder: string): Oddities {
  const made = new OddFolder(folder);
  for (const make of [
    names,
    deepFolders,
    links,
    nodes,
    modesAndOwners,
    times,
    holes,
    xattrs,
    acls,
    capabilities,
  ]) {
    make(made);
  }
  return { lacking: made.lacking };
}

class OddFolder {
  readonly lacking: string[] = [];

  constructor(readonly root: string) {}

  /** A path below the folder; a name may be given by its bytes. */
  path(...names: Array<string | Buffer>): Buffer {
    const parts = names.flatMap((name) => [Buffer.from('/'), Buffer.from(name)]);
    return Buffer.concat([Buffer.from(this.root), ...parts]);
  }

  folder(...names: Array<string | Buffer>): Buffer {
    const path = this.path(...names);
    mkdirSync(path);
    return path;
  }

  file(content: string | Buffer, ...names: Array<string | Buffer>): Buffer {
    const path = this.path(...names);
    writeFileSync(path, content);
    return path;
  }

  /** Tries what a file system may refuse. */
  attempt(what: string, make: () => void): void {
    try {
      make();
    } catch (error) {
      this.lacking.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

function names(odd: OddFolder): void {
  odd.folder('names');
  const every = [
    'plain',
    'with space',
    ' leading space',
    'trailing space ',
    'new\nline',
    'tab\tand\rreturn',
    '-leading-dash',
    '--help',
    '.hidden',
    '...',
    'quote\'"`',
    'back\\slash\\n',
    '$HOME $(id) *?[a]{b,c}',
    'colon:and|pipe',
    'ünïcödé ☃ 🙂',
    'e\u0301 is not \u00e9',
    '\x01\x1b[31m\x7f',
    '~',
    '#comment',
    'x'.repeat(255),
    'ü'.repeat(127),
    Buffer.from([0xff]),
    Buffer.from([0xfe, 0xc3, 0x28, 0x2e]),
    Buffer.from([0xc3]),
    Buffer.from([0xed, 0xa0, 0x80]), // half of a surrogate pair
    Buffer.alloc(255, 0x80),
    // every byte that a name can have
    Buffer.from(Array.from({ length: 255 }, (_, byte) => byte + 1).filter((byte) => byte !== 0x2f)),
  ];
  for (const name of every) {
    odd.attempt(`the name ${JSON.stringify(name.toString())}`, () =>
      odd.file(name.toString('hex'), 'names', name),
    );
  }
  odd.folder('names', Buffer.from([0x66, 0xff, 0x6f]));
  odd.file('in an odd folder', 'names', Buffer.from([0x66, 0xff, 0x6f]), Buffer.from([0xf0, 0x9f]));
  odd.folder('empty-folder');
  odd.file('', 'empty-file');
}

/** 24 folders of 200 bytes: the path is longer than the system takes at once (4096). */
function deepFolders(odd: OddFolder): void {
  let at = openSync(odd.folder('deep'), O_PATH);
  for (let level = 0; level < 24; level++) {
    const path = `/proc/self/fd/${at}/${level}-${'d'.repeat(196)}`;
    mkdirSync(path);
    writeFileSync(`/proc/self/fd/${at}/file`, `level ${level}`);
    const next = openSync(path, O_PATH);
    closeSync(at);
    at = next;
  }
  writeFileSync(`/proc/self/fd/${at}/bottom`, 'the bottom');
  closeSync(at);
}

function links(odd: OddFolder): void {
  odd.folder('links');
  odd.folder('links', 'elsewhere');
  const file = odd.file('one file, three names', 'links', 'first');
  makeLink(file, odd.path('links', 'second'));
  makeLink(file, odd.path('links', 'elsewhere', 'third'));
  const other = odd.file('one file, three names', 'links', 'stranger');
  makeLink(other, odd.path('links', 'elsewhere', 'stranger'));

  symlinkSync('first', odd.path('links', 'symlink'));
  makeLink(odd.path('links', 'symlink'), odd.path('links', 'elsewhere', 'symlink-again'));
  symlinkSync('nowhere/at all', odd.path('links', 'dangling'));
  symlinkSync('/etc/passwd', odd.path('links', 'absolute'));
  symlinkSync('../../../../../../../../etc', odd.path('links', 'out'));
  symlinkSync('loop-b', odd.path('links', 'loop-a'));
  symlinkSync('loop-a', odd.path('links', 'loop-b'));
  symlinkSync('.', odd.path('links', 'itself'));
  symlinkSync(Buffer.from([0xff, 0x2f, 0x0a, 0x80]), odd.path('links', 'bytes'));
  symlinkSync('z'.repeat(59), odd.path('links', 'longest-in-inode'));
  symlinkSync('z'.repeat(60), odd.path('links', 'shortest-in-block'));
  symlinkSync('l'.repeat(1023), odd.path('links', 'long'));
  odd.attempt('a symlink of 4095 bytes', () => symlinkSync('t/'.repeat(2047), odd.path('links', 'longest')));
}

function nodes(odd: OddFolder): void {
  odd.folder('nodes');
  makeNode(odd.path('nodes', 'null'), 'character', 1, 3);
  makeNode(odd.path('nodes', 'whiteout'), 'character', 0, 0);
  makeNode(odd.path('nodes', 'disk'), 'block', 8, 17);
  makeNode(odd.path('nodes', 'large'), 'block', 511, 262143);
  odd.attempt('the largest numbers of a device', () =>
    makeNode(odd.path('nodes', 'large-numbers'), 'block', 4095, 1048575),
  );
  makeNode(odd.path('nodes', 'fifo'), 'fifo');
  makeNode(odd.path('nodes', 'socket'), 'socket');
  makeLink(odd.path('nodes', 'fifo'), odd.path('nodes', 'fifo-again'));
}

function modesAndOwners(odd: OddFolder): void {
  odd.folder('modes');
  const ids = [0, 1, 1000, 65534, 65535, 65536, 100_000, 165_535, 2 ** 31, 2 ** 32 - 2];
  for (const id of ids) {
    const path = odd.file(`${id}`, 'modes', `owner-${id}`);
    lchownSync(path, id, ids[(ids.indexOf(id) + 3) % ids.length] ?? 0);
  }
  symlinkSync('target', odd.path('modes', 'link-of-another'));
  lchownSync(odd.path('modes', 'link-of-another'), 100_001, 100_002);
  for (const mode of [0o0000, 0o0444, 0o0777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777, 0o0001]) {
    chmodSync(odd.file('mode', 'modes', `file-${mode.toString(8)}`), mode);
    const folder = odd.folder('modes', `folder-${mode.toString(8)}`);
    odd.file('within', 'modes', `folder-${mode.toString(8)}`, 'file');
    chmodSync(folder, mode);
  }
}

function times(odd: OddFolder): void {
  odd.folder('times');
  const moments: ReadonlyArray<readonly [string, bigint, number]> = [
    ['epoch', 0n, 0],
    ['first-nanosecond', 0n, 1],
    ['just-before-1970', -1n, 999_999_999],
    ['1901', -2_147_483_648n, 0],
    ['1960', -315_619_200n, 123_456_789],
    ['last-32-bit', 2_147_483_647n, 999_999_999],
    ['2038', 2_147_483_648n, 500_000_000],
    ['2107', 4_354_819_198n, 1],
    ['2400', 13_569_465_600n, 987_654_321],
  ];
  for (const [name, seconds, nanoseconds] of moments) {
    const path = odd.file(name, 'times', name);
    setTime(path, seconds, nanoseconds);
    const held = BigInt(lstatSync(path, { bigint: true }).mtimeNs);
    if (held !== seconds * 1_000_000_000n + BigInt(nanoseconds))
      odd.lacking.push(`the time ${name}: it became ${held}`);
  }
  symlinkSync('epoch', odd.path('times', 'symlink'));
  setTime(odd.path('times', 'symlink'), -5n, 6);
  setTime(odd.folder('times', 'folder'), -7n, 8);
}

/** Holes and data in whole pieces of 64 KiB, the largest block of the file systems at hand. */
function holes(odd: OddFolder): void {
  odd.folder('holes');
  const piece = 65536;
  const shapes: ReadonlyArray<readonly [name: string, shape: string, tail: number]> = [
    ['leading', '..dd', 0],
    ['middle', 'd..d', 0],
    ['trailing', 'dd..', 0],
    ['all-hole', '........', 0],
    ['many', 'd.'.repeat(40), 0],
    ['many-first', '.d'.repeat(40), 0],
    ['odd-end', '.d.', 12_345],
    ['written-zeros', 'zzdz', 0],
    ['a-byte-of-hole', '', 1],
  ];
  for (const [name, shape, tail] of shapes) {
    const descriptor = openSync(odd.path('holes', name), 'wx');
    ftruncateSync(descriptor, shape.length * piece + tail);
    for (const [place, kind] of [...shape].entries()) {
      const byte = kind === 'd' ? 0x61 + (place % 26) : 0;
      if (kind !== '.') writeSync(descriptor, Buffer.alloc(piece, byte), 0, piece, place * piece);
    }
    closeSync(descriptor);
  }
  const large = openSync(odd.path('holes', 'a-byte-beyond-4-gib'), 'wx');
  writeSync(large, Buffer.from('!'), 0, 1, 2 ** 32 + 4096);
  closeSync(large);
}

function xattrs(odd: OddFolder): void {
  const folder = odd.folder('xattrs');
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  odd.attempt('user attributes', () => {
    const file = odd.file('attributes', 'xattrs', 'file');
    setXattr(file, 'user.text', Buffer.from('text'));
    setXattr(file, 'user.empty', Buffer.alloc(0));
    setXattr(file, 'user.bytes', bytes);
    setXattr(file, 'user.\xff\xfe odd=name', Buffer.from('value'));
    setXattr(file, `user.${'n'.repeat(250)}`, Buffer.from('the longest name'));
    setXattr(folder, 'user.on-folder', Buffer.from('folder'));
    const many = odd.file('many', 'xattrs', 'many');
    for (let each = 0; each < 40; each++) setXattr(many, `user.number-${each}`, Buffer.from(`${each}`));
    makeLink(file, odd.path('xattrs', 'same-file'));
  });
  odd.attempt('trusted attributes', () => {
    setXattr(odd.file('trusted', 'xattrs', 'trusted'), 'trusted.secret', bytes);
    symlinkSync('file', odd.path('xattrs', 'symlink'));
    setXattr(odd.path('xattrs', 'symlink'), 'trusted.on-symlink', Buffer.from('symlink'));
    makeNode(odd.path('xattrs', 'device'), 'character', 1, 5);
    setXattr(odd.path('xattrs', 'device'), 'trusted.on-device', Buffer.from('device'));
  });
  odd.attempt('an attribute of 3000 bytes', () =>
    setXattr(odd.file('large', 'xattrs', 'large'), 'user.large', Buffer.alloc(3000, 'large ')),
  );
  odd.attempt('an attribute of 64 KiB', () =>
    setXattr(odd.file('largest', 'xattrs', 'largest'), 'user.largest', Buffer.alloc(65536, 'largest ')),
  );
}

function acls(odd: OddFolder): void {
  const folder = odd.folder('acls');
  const file = odd.file('acl', 'acls', 'file');
  const set = (path: Buffer, ...args: string[]): void => {
    execFileSync('setfacl', [...args, '--', path.toString('utf8')], { stdio: ['ignore', 'ignore', 'pipe'] });
  };
  odd.attempt('access control lists', () => {
    set(file, '-m', 'u:1000:rw,u:100000:r,u:4294967294:x,g:100033:rx,g:65534:-,m::rwx');
    set(folder, '-m', 'u:100042:rwx');
    set(folder, '-d', '-m', 'u:100042:rwx,g:7:r,o::-');
    odd.file('inherits', 'acls', 'inherits');
    odd.folder('acls', 'inherits-too');
  });
}

/** struct vfs_cap_data and vfs_ns_cap_data: net_raw and net_bind_service, permitted and effective. */
function capabilities(odd: OddFolder): void {
  odd.folder('capabilities');
  const value = (revision: number, root?: number): Buffer => {
    const words = [
      (revision << 24) | 1,
      (1 << 13) | (1 << 10),
      0,
      0,
      0,
      ...(root === undefined ? [] : [root]),
    ];
    const bytes = Buffer.alloc(words.length * 4);
    for (const [place, word] of words.entries()) bytes.writeUInt32LE(word >>> 0, place * 4);
    return bytes;
  };
  odd.attempt('file capabilities', () => {
    setXattr(odd.file('#!', 'capabilities', 'revision-2'), 'security.capability', value(2));
    setXattr(odd.file('#!', 'capabilities', 'of-container-root'), 'security.capability', value(3, 100_000));
    setXattr(odd.file('#!', 'capabilities', 'of-nested-root'), 'security.capability', value(3, 165_000));
    setXattr(odd.file('#!', 'capabilities', 'of-stranger'), 'security.capability', value(3, 4_000_000));
  });
}

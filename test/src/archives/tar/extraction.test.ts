import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeOddities } from '../../../corpus/oddities.js';
import { unhurried } from '../host-folder/walk.js';
import { type Comparable, describeFolder, describeTree, differences } from './description.js';
import { fileDisk } from './file-disk.js';
import { openTar } from './opened-tar.js';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-tar-'));
  mkdirSync(join(folder, 'odd'));
  makeOddities(join(folder, 'odd'));
});

// Its paths are too long for Node.
afterAll(() => {
  execFileSync('rm', ['-rf', folder]);
});

const keepAll = ['--numeric-owner', '--same-owner', '--preserve-permissions'];
const everything = ['--acls', '--xattrs', '--xattrs-include=*'];

/** What GNU tar packs with some options: how many members it could not hold does not matter here. */
function pack(archive: string, ...options: string[]): void {
  try {
    execFileSync('tar', ['-cf', join(folder, archive), '-C', join(folder, 'odd'), ...options, '.'], {
      stdio: 'pipe',
    });
  } catch (error) {
    // 1 and 2: some file could not be packed (sockets; what the format has no room for).
    if (!(error instanceof Error && 'status' in error && (error.status === 1 || error.status === 2)))
      throw error;
  }
}

function extract(archive: string, ...options: string[]): string {
  const into = join(folder, `${archive}-extracted`);
  mkdirSync(into);
  execFileSync('tar', ['-xf', join(folder, archive), '-C', into, ...keepAll, ...options], { stdio: 'pipe' });
  return into;
}

async function differencesToTar(archive: string, comparable: Comparable): Promise<string[]> {
  const into = extract(archive, ...(comparable.xattrs ? everything : []));
  const { tree, problems } = await openTar(await fileDisk(join(folder, archive)), { signal: unhurried });
  try {
    expect(problems).toEqual([]);
    return differences(await describeTree(tree, comparable), await describeFolder(into, comparable));
  } finally {
    await tree.close();
    await rm(into, { recursive: true });
  }
}

// A file of 4 GiB takes as much in an archive that knows no holes.
const withoutLarge = '--exclude=./holes/a-byte-beyond-4-gib';
// GNU tar 1.34 can't extract paths that the system does not take at once, nor fractions of seconds before 1970.
const extractable = ['deep', 'times/just-before-1970', 'times/1960', 'times/symlink', 'times/folder'].map(
  (path) => `--exclude=./${path}`,
);

describe('a tree of oddities in a tar archive is what GNU tar extracts', () => {
  it.each(['v7', 'oldgnu', 'gnu', 'ustar', 'posix'])('in the format %s', async (format) => {
    pack(`${format}.tar`, `--format=${format}`, withoutLarge, ...extractable);
    const comparable = { nanoseconds: format === 'posix', xattrs: false, holes: false };
    expect(await differencesToTar(`${format}.tar`, comparable)).toEqual([]);
  });

  it.each([
    ['old GNU', ['--format=gnu']],
    ['0.0', ['--format=posix', '--sparse-version=0.0']],
    ['0.1', ['--format=posix', '--sparse-version=0.1']],
    ['1.0', ['--format=posix', '--sparse-version=1.0']],
  ])('with holes in the format %s', async (name, options) => {
    pack(`sparse-${name}.tar`, '--sparse', ...options, ...extractable);
    const comparable = { nanoseconds: options[0] === '--format=posix', xattrs: false, holes: true };
    expect(await differencesToTar(`sparse-${name}.tar`, comparable)).toEqual([]);
  });

  it('with extended attributes, ACLs and capabilities', async () => {
    pack('xattrs.tar', '--sparse', ...everything, ...extractable);
    const comparable = { nanoseconds: true, xattrs: true, holes: true };
    expect(await differencesToTar('xattrs.tar', comparable)).toEqual([]);
  });
});

it('is the original, with paths of any length and all times, in the format posix', async () => {
  // Of these tar keeps less than the original has: which fifos are one, and that a byte is a hole.
  const lossy = ['nodes/fifo', 'nodes/fifo-again', 'holes/a-byte-of-hole'];
  const without = lossy.map((path) => `--exclude=./${path}`);
  pack('original.tar', '--sparse', '--numeric-owner', ...everything, ...without);
  const comparable = { nanoseconds: true, xattrs: true, holes: true };
  const { tree, problems } = await openTar(await fileDisk(join(folder, 'original.tar')), {
    signal: unhurried,
  });
  try {
    expect(problems).toEqual([]);
    const original = await describeFolder(join(folder, 'odd'), comparable);
    // No tar format has sockets.
    for (const path of ['nodes/socket', ...lossy]) original.delete(path);
    expect(differences(await describeTree(tree, comparable), original)).toEqual([]);
  } finally {
    await tree.close();
  }
});

it('written by bsdtar, in its form of extended attributes, is the original', async () => {
  // bsdtar writes fractions before 1970 in a way of its own, composes letters, and keeps no holes here.
  const times = ['1960', 'just-before-1970', 'symlink', 'folder'].map((name) => `times/${name}`);
  const without = [
    'deep',
    'holes',
    'acls',
    'names',
    'nodes/socket',
    'nodes/fifo',
    'nodes/fifo-again',
    ...times,
  ];
  const excluding = without.map((path) => `--exclude=./${path}`);
  const from = ['-C', join(folder, 'odd'), ...excluding, '.'];
  execFileSync('bsdtar', ['--format', 'pax', '--xattrs', '-cf', join(folder, 'bsd.tar'), ...from], {
    stdio: 'pipe',
  });
  const comparable = { nanoseconds: true, xattrs: true, holes: false };
  const { tree, problems } = await openTar(await fileDisk(join(folder, 'bsd.tar')), { signal: unhurried });
  try {
    expect(problems).toEqual([]);
    const original = await describeFolder(join(folder, 'odd'), comparable);
    for (const path of [...original.keys()]) {
      if (without.some((left) => path === left || path.startsWith(`${left}/`))) original.delete(path);
    }
    expect(differences(await describeTree(tree, comparable), original)).toEqual([]);
  } finally {
    await tree.close();
  }
});

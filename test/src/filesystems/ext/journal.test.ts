import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Tree } from '../../../../src/tree/tree.js';
import { contentOf, find } from '../../archives/host-folder/walk.js';
import { ExtImage, openBytes } from './images.js';

// Transactions are written by debugfs(8).
const blockBytes = 1024;
const superblock = 1024;
const incompatible = superblock + 0x60;
const needsRecovery = 0x4;
const journalMagic = Buffer.from([0xc0, 0x3b, 0x39, 0x98]);
const kinds = { descriptor: 1, commit: 2 } as const;

let folder: string;
let image: ExtImage;

/** A block of its own content. */
const filled = (text: string): Buffer => Buffer.alloc(blockBytes, text);

function make(...features: string[]): void {
  const options = ['-t', 'ext4', '-b', `${blockBytes}`, ...features.flatMap((each) => ['-O', each])];
  image = new ExtImage(8, options, (tree) =>
    writeFileSync(join(tree, 'file'), Buffer.alloc(3 * blockBytes, 'old ')),
  );
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-journal-'));
});
afterEach(() => {
  image.remove();
  rmSync(folder, { recursive: true });
});

interface Transaction {
  /** New bytes of the file's blocks, by their numbers in it. */
  readonly blocks?: Readonly<Record<number, Buffer>>;
  readonly revoked?: readonly number[];
  readonly uncommitted?: boolean;
}

function write(transactions: readonly Transaction[], ...how: readonly string[]): void {
  const place = (index: number | string): number => image.block('/file', Number(index)) / blockBytes;
  const commands = transactions.map(({ blocks = {}, revoked = [], uncommitted = false }, each) => {
    const file = join(folder, `${each}`);
    writeFileSync(file, Buffer.concat(Object.values(blocks)));
    const lists = [
      ...(Object.keys(blocks).length > 0 ? ['-b', Object.keys(blocks).map(place).join()] : []),
      ...(revoked.length > 0 ? ['-r', revoked.map(place).join()] : []),
    ];
    return ['jw', ...lists, ...(uncommitted ? ['-c'] : []), file].join(' ');
  });
  image.debugfs(['jo', ...how].join(' '), ...commands, 'jc');
}

/** Where the journal's blocks of a kind are, in bytes, in the order of the log. */
function logged(kind: keyof typeof kinds, bytes: Buffer): number[] {
  const places: number[] = [];
  for (let at = 0; at < bytes.length; at += blockBytes) {
    if (bytes.subarray(at, at + 4).equals(journalMagic) && bytes.readUInt32BE(at + 4) === kinds[kind])
      places.push(at);
  }
  return places;
}

async function file(tree: Tree): Promise<string[]> {
  const content = await contentOf(tree, await find(tree, 'file'));
  return [0, 1, 2].map((index) => content.toString('latin1', index * blockBytes, index * blockBytes + 4));
}

describe('a journal that was not replayed', () => {
  it.each([
    ['without checksums', ['^metadata_csum'], []],
    ['with checksums of version 2', [], ['-c', '-v', '2']],
    ['with checksums of version 3', [], ['-c', '-v', '3']],
    ['with short numbers of blocks', ['^64bit'], ['-c', '-v', '3']],
  ])('is replayed, the last change of a block counts: %s', async (_, features, how) => {
    make(...features);
    write([{ blocks: { 0: filled('one '), 2: filled('two ') } }, { blocks: { 2: filled('new ') } }], ...how);
    const { tree, problems } = await openBytes(image.bytes);
    expect(await file(tree)).toEqual(['one ', 'old ', 'new ']);
    expect(problems).toEqual([]);
  });

  it('gives blocks back what was put out of them, for they looked like the journal', async () => {
    make();
    write([{ blocks: { 1: Buffer.concat([journalMagic, filled('x').subarray(4)]) } }], '-c', '-v', '3');
    const { tree } = await openBytes(image.bytes);
    expect((await file(tree))[1]).toBe(journalMagic.toString('latin1'));
  });

  it('leaves alone what was revoked later, and takes what was changed after that', async () => {
    make();
    write([
      { blocks: { 0: filled('one '), 1: filled('two '), 2: filled('thr ') } },
      { revoked: [0, 1] },
      { blocks: { 1: filled('aft ') } },
    ]);
    const { tree } = await openBytes(image.bytes);
    expect(await file(tree)).toEqual(['old ', 'aft ', 'thr ']);
  });

  it('does not take a transaction that was not committed', async () => {
    make();
    write([{ blocks: { 0: filled('one ') } }, { blocks: { 1: filled('two ') }, uncommitted: true }]);
    const { tree, problems } = await openBytes(image.bytes);
    expect(await file(tree)).toEqual(['one ', 'old ', 'old ']);
    expect(problems).toEqual([]);
  });

  it('is not looked at where the file system was unmounted', async () => {
    make();
    write([{ blocks: { 0: filled('one ') } }]);
    const { bytes } = image;
    bytes.writeUInt32LE(bytes.readUInt32LE(incompatible) & ~needsRecovery, incompatible);
    const { tree } = await openBytes(bytes);
    expect(await file(tree)).toEqual(['old ', 'old ', 'old ']);
  });
});

describe('a journal that is damaged', () => {
  it('in a block of data: that block is EIO, all else is read', async () => {
    make();
    write([{ blocks: { 0: filled('one '), 1: filled('two ') } }], '-c', '-v', '3');
    const { bytes } = image;
    const [descriptor = 0] = logged('descriptor', bytes);
    bytes.write('bad ', descriptor + 2 * blockBytes + 100);
    const { tree, problems } = await openBytes(bytes);
    await expect(file(tree)).rejects.toMatchObject({ code: 'EIO' });
    expect(problems).toEqual([
      expect.stringMatching(/^block \d+ .* is damaged in its journal: its checksum is wrong\.$/),
    ]);
  });

  it.each([
    'descriptor',
    'commit',
  ] as const)('in a %s: what came before is replayed, and a sentence tells of it', async (kind) => {
    make();
    write(
      [{ blocks: { 0: filled('one ') } }, { blocks: { 0: filled('two '), 1: filled('two ') } }],
      '-c',
      '-v',
      '3',
    );
    const { bytes } = image;
    const [, second = 0] = logged(kind, bytes);
    bytes.writeUInt8(1, second + 200);
    const { tree, problems } = await openBytes(bytes);
    expect(await file(tree)).toEqual(['one ', 'old ', 'old ']);
    expect(problems).toEqual([
      expect.stringMatching(/^The journal .* is damaged in transaction \d+ \(a checksum in it is wrong\)/),
    ]);
  });

  it('in its first block: the file system is shown as it is on the disk', async () => {
    make();
    write([{ blocks: { 0: filled('one ') } }], '-c', '-v', '3');
    const { bytes } = image;
    const journal = image.block('<8>', 0);
    bytes.writeUInt32BE(77, journal + 0x14);
    const { tree, problems } = await openBytes(bytes);
    expect(await file(tree)).toEqual(['old ', 'old ', 'old ']);
    expect(problems).toEqual([
      expect.stringMatching(/^The journal .* can't be replayed: its first block is damaged/),
    ]);
  });

  it('or on another disk: the file system is shown as it is', async () => {
    make();
    const { bytes } = image;
    bytes.writeUInt32LE(bytes.readUInt32LE(incompatible) | needsRecovery, incompatible);
    bytes.writeUInt32LE(0, superblock + 0xe0);
    const { tree, problems } = await openBytes(bytes);
    expect(await file(tree)).toEqual(['old ', 'old ', 'old ']);
    expect(problems).toContainEqual(expect.stringMatching(/journal is on another disk/));
  });
});

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Name } from '../../../../src/name.js';
import type { Attributes } from '../../../../src/tree/attributes.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { contentOf, find, listAll, unhurried } from '../../archives/host-folder/walk.js';
import {
  attributePlace,
  firstRunPlace,
  openBytes,
  recordBytes,
  recordPlace,
  smallVolume,
} from './volumes.js';

const data = 0x80;
const indexAllocation = 0xa0;
const volumeInformation = 0x70;
const many = 200;

describe('a damaged NTFS volume', () => {
  let folder: string;
  let sound: Buffer;
  let inodes: Record<'file' | 'other' | 'fragmented' | 'folder' | 'deleted', bigint>;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'stillfs-ntfs-'));
    let deleted = 0n;
    sound = await smallVolume(folder, (root) => {
      writeFileSync(join(root, 'file'), 'one file');
      writeFileSync(join(root, 'other'), 'other file');
      writeFileSync(join(root, 'data'), Buffer.alloc(20_000, 'data'));
      mkdirSync(join(root, 'folder'));
      for (let each = 0; each < many; each++)
        writeFileSync(join(root, 'folder', `a name of some length ${each}`), '');
      writeFileSync(join(root, 'deleted'), 'deleted');
      deleted = BigInt(execFileSync('stat', ['-c', '%i', join(root, 'deleted')], { encoding: 'utf8' }));
      rmSync(join(root, 'deleted'));
    });
    const { tree } = await openBytes(sound);
    inodes = {
      file: (await find(tree, 'file')).inode,
      other: (await find(tree, 'other')).inode,
      fragmented: (await find(tree, 'data')).inode,
      folder: (await find(tree, 'folder')).inode,
      deleted,
    };
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const damaged = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(sound);
    change(bytes);
    return bytes;
  };
  const read = async (tree: Tree, file: Attributes): Promise<string> =>
    (await contentOf(tree, file)).toString();
  const isFine = async (tree: Tree): Promise<void> =>
    expect(await read(tree, await find(tree, 'other'))).toBe('other file');

  it('is read by the copy of the first records of its master file table', async () => {
    const bytes = damaged((image) =>
      image.fill(0, recordPlace(image, 0), recordPlace(image, 0) + recordBytes),
    );
    const { tree, problems } = await openBytes(bytes);
    await isFine(tree);
    expect(problems).toEqual([expect.stringMatching(/copy of its first record/)]);
  });

  it('is refused where both are damaged, with the reason', async () => {
    const bytes = damaged((image) => {
      image.fill(0, recordPlace(image, 0), recordPlace(image, 0) + recordBytes);
      const mirror = Number(image.readBigUInt64LE(56)) * image.readUInt16LE(11) * image.readUInt8(13);
      image.fill(0, mirror, mirror + recordBytes);
    });
    await expect(openBytes(bytes)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/MFT record 0 is damaged/),
    });
  });

  it('lists a file whose record was written in part, and says so to who asks for it', async () => {
    const bytes = damaged((image) => {
      const at = recordPlace(image, inodes.file) + recordBytes - 2;
      image.writeUInt16LE(image.readUInt16LE(at) ^ 1, at);
    });
    const { tree, problems } = await openBytes(bytes);
    expect((await listAll(tree, tree.root)).map(({ name }) => name)).toContain('file');
    await expect(tree.attributes(inodes.file, unhurried)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/written in part only/),
    });
    expect(problems).toHaveLength(1);
    await isFine(tree);
  });

  it('does not take a file for another one that uses its record now', async () => {
    const bytes = damaged((image) => {
      const at = recordPlace(image, inodes.file) + 16;
      image.writeUInt16LE(image.readUInt16LE(at) + 1, at);
    });
    const { tree } = await openBytes(bytes);
    await expect(find(tree, 'file')).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/no file's or another's now/),
    });
    expect((await listAll(tree, tree.root)).map(({ name }) => name)).toContain('file');
    await isFine(tree);
  });

  it('shows no file that was deleted', async () => {
    const { tree } = await openBytes(sound);
    await expect(tree.attributes(inodes.deleted, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('lists the names that can be read, and then fails', async () => {
    const bytes = damaged((image) => {
      const block = firstRunPlace(image, attributePlace(image, inodes.folder, indexAllocation, '$I30'));
      image.fill(0, block, block + 512);
    });
    const { tree, problems } = await openBytes(bytes);
    let listed = 0;
    let failure: unknown;
    for (let after = 0n; failure === undefined; ) {
      const entries = await tree.list(inodes.folder, after, unhurried).catch((error: unknown) => {
        failure = error;
        return [];
      });
      listed += entries.length;
      after = entries.at(-1)?.cookie ?? after;
    }
    expect(failure).toMatchObject({ code: 'EIO', message: expect.stringMatching(/block 0 of the index/) });
    expect(listed).toBeGreaterThan(many / 2);
    expect(listed).toBeLessThan(many);
    expect(problems[0]).toMatch(/^Names of folder \d+ are missing/);
  });

  it('ends where its tree of names goes in circles', async () => {
    const bytes = damaged((image) => {
      // What comes before each name of a block is said to be in that block.
      const block = firstRunPlace(image, attributePlace(image, inodes.folder, indexAllocation, '$I30'));
      for (let at = block + 24 + image.readUInt32LE(block + 24); ; at += image.readUInt16LE(at + 8)) {
        const flags = image.readUInt16LE(at + 12);
        if ((flags & 2) !== 0) break;
        image.writeUInt16LE(flags | 1, at + 12);
        image.writeBigUInt64LE(0n, at + image.readUInt16LE(at + 8) - 8);
      }
    });
    const { tree } = await openBytes(bytes);
    await expect(tree.lookup(inodes.folder, 'a' as Name, unhurried)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/goes in circles/),
    });
    await isFine(tree);
  });

  it('reads nothing from outside of itself', async () => {
    const bytes = damaged((image) => {
      const attribute = attributePlace(image, inodes.fragmented, data);
      const pairs = attribute + image.readUInt16LE(attribute + 32);
      const head = image.readUInt8(pairs);
      image.fill(0x7f, pairs + 1 + (head & 15), pairs + 1 + (head & 15) + (head >>> 4));
    });
    const { tree } = await openBytes(bytes);
    const file = await find(tree, 'data');
    await expect(contentOf(tree, file)).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/lie outside of the volume's/),
    });
    await isFine(tree);
  });

  it('says that a file is encrypted instead of giving what can’t be understood', async () => {
    const bytes = damaged((image) => {
      const attribute = attributePlace(image, inodes.fragmented, data);
      image.writeUInt16LE(0x4000, attribute + 12);
    });
    const { tree } = await openBytes(bytes);
    const file = await find(tree, 'data');
    expect(file.size).toBe(20_000);
    await expect(tree.open(file.inode, 'read', unhurried)).rejects.toMatchObject({
      code: 'EACCES',
      message: expect.stringMatching(/encrypted/),
    });
  });

  it('shows zeros behind what was written of a file', async () => {
    const bytes = damaged((image) => {
      image.writeBigUInt64LE(10_001n, attributePlace(image, inodes.fragmented, data) + 56);
    });
    const { tree } = await openBytes(bytes);
    const expected = Buffer.alloc(20_000, 'data').fill(0, 10_001);
    expect((await contentOf(tree, await find(tree, 'data'))).equals(expected)).toBe(true);
  });

  it('says that it is dirty, or was in use', async () => {
    const dirty = damaged((image) => {
      const attribute = attributePlace(image, 3, volumeInformation);
      image.writeUInt16LE(1, attribute + image.readUInt16LE(attribute + 20) + 10);
    });
    expect((await openBytes(dirty)).problems).toEqual([expect.stringMatching(/marked as dirty/)]);
    const inUse = damaged((image) =>
      restartPage(image, firstRunPlace(image, attributePlace(image, 2, data)), 0),
    );
    expect((await openBytes(inUse)).problems).toEqual([expect.stringMatching(/was in use/)]);
    const clean = damaged((image) =>
      restartPage(image, firstRunPlace(image, attributePlace(image, 2, data)), 0xffff),
    );
    expect((await openBytes(clean)).problems).toEqual([]);
  });

  it('is told to be cut short, and read as far as it is there', async () => {
    const { tree, problems } = await openBytes(sound.subarray(0, sound.length - 65_536));
    await isFine(tree);
    expect(problems).toEqual([expect.stringMatching(/cut short/)]);
  });
});

/** Writes the page of a log whose first client in use is this one. */
function restartPage(bytes: Buffer, at: number, client: number): void {
  const page = bytes.subarray(at, at + 4096).fill(0);
  page.write('RSTR', 0, 'latin1');
  page.writeUInt16LE(30, 4);
  page.writeUInt16LE(9, 6);
  page.writeUInt16LE(1, 30);
  for (let sector = 1; sector <= 8; sector++) page.writeUInt16LE(1, sector * 512 - 2);
  page.writeUInt32LE(4096, 16);
  page.writeUInt32LE(4096, 20);
  page.writeUInt16LE(56, 24);
  page.writeBigUInt64LE(7n, 56);
  page.writeUInt16LE(client, 56 + 12);
}

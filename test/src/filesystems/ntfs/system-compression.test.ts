import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contentOf, find, unhurried } from '../../archives/host-folder/walk.js';
import { makeSystemCompressed, packedByWimlib } from './system-compressed.js';
import { makeVolume, mountedByNtfs3g, openBytes } from './volumes.js';

const text = Buffer.from(Array.from({ length: 30_000 }, (_, line) => `line ${line * line}\n`).join(''));
const originals: Readonly<Record<string, Buffer>> = {
  text,
  small: text.subarray(0, 900),
  'whole-chunks': text.subarray(0, 65_536),
  program: readFileSync('/bin/bash').subarray(0, 300_000),
  // Chunks that don't pack are stored as they are.
  mixed: Buffer.concat([randomBytes(40_000), text.subarray(0, 9000)]),
  zeros: Buffer.alloc(100_000),
};

describe('a file that Windows has compressed by itself', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'stillfs-ntfs-'));
    mkdirSync(join(folder, 'files'));
    for (const [name, bytes] of Object.entries(originals)) writeFileSync(join(folder, 'files', name), bytes);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each([
    ['XPRESS4K', 0, 4096],
    ['XPRESS8K', 2, 8192],
    ['XPRESS16K', 3, 16384],
  ])('is read: %s', async (_name, algorithm, chunkBytes) => {
    const chunks = packedByWimlib(join(folder, 'files'), chunkBytes);
    const image = join(folder, 'volume.img');
    await makeVolume(image, 8 << 20);
    await mountedByNtfs3g(image, 'streams_interface=windows', async (root) => {
      for (const [name, { length }] of Object.entries(originals))
        await makeSystemCompressed(
          join(root, name),
          length,
          chunks.get(length) ?? Buffer.alloc(0),
          algorithm,
        );
    });
    const { tree, problems } = await openBytes(readFileSync(image));
    for (const [name, bytes] of Object.entries(originals)) {
      const file = await find(tree, name);
      expect(file, name).toMatchObject({ type: 'file', size: bytes.length });
      expect((await contentOf(tree, file)).equals(bytes), name).toBe(true);
      expect(await tree.xattrs(file.inode, unhurried), name).toEqual([]);
    }
    expect((await find(tree, 'zeros')).allocated).toBeLessThan(20_000);
    expect(problems).toEqual([]);
  });
});

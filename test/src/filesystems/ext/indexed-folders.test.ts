import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { openExt } from '../../../../src/filesystems/ext/ext.js';
import { FileSystemTree } from '../../../../src/filesystems/file-system-tree.js';
import { type Name, nameFromBytes } from '../../../../src/name.js';
import { Problems } from '../../../../src/problems.js';
import { unhurried } from '../../archives/host-folder/walk.js';
import { BytesDisk } from '../../archives/squashfs/bytes-disk.js';
import { ExtImage } from './images.js';

/** Long enough for an index of two levels; half of them with bytes above 127. */
const names = Array.from({ length: 700 }, (_, each) =>
  Buffer.from(`${'n'.repeat(150 + (each % 60))}${each}${each % 2 === 0 ? 'ü\u{1f600}' : ''}`),
);

it.each(
  ['legacy', 'half_md4', 'tea'].flatMap((algorithm) => [
    { algorithm, chars: 'signed', flags: 1 },
    { algorithm, chars: 'unsigned', flags: 2 },
  ]),
)('finds a name by an index of $algorithm hashes of $chars chars, without reading the folder', async ({
  algorithm,
  flags,
}) => {
  const image = new ExtImage(
    8,
    [
      '-t',
      'ext4',
      '-b',
      '1024',
      '-N',
      '1000',
      '-O',
      '^has_journal',
      '-E',
      `hash_seed=01234567-89ab-cdef-0123-456789abcdef`,
    ],
    (folder) => {
      for (const name of names) writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), name]), '');
    },
    [`set_super_value def_hash_version ${algorithm}`, `set_super_value flags ${flags}`],
  );
  try {
    expect(image.debugfs('htree_dump /')).toMatch(/Indirect levels: 1/);
    const disk = new BytesDisk(image.bytes);
    const found: string[] = [];
    const problems = new Problems((sentence) => found.push(sentence));
    const options = { signal: unhurried, problem: (sentence: string) => problems.add(sentence) };
    const tree = new FileSystemTree(await openExt(disk, options), problems);
    const before = disk.reads.length;
    const none = await tree.lookup(tree.root, 'no such name' as Name, unhurried);
    expect(none.attributes).toBeUndefined();
    expect(disk.reads.length - before).toBeLessThan(6);
    for (const name of names) {
      const { attributes } = await tree.lookup(tree.root, nameFromBytes(name), unhurried);
      expect(attributes?.type, name.toString()).toBe('file');
    }
    expect(found).toEqual([]);
  } finally {
    image.remove();
  }
});

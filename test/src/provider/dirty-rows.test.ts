import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DirtyRow, readDirtyRows } from '../../../src/provider/disks/dirty-rows.js';

describe('a dirty map', () => {
  let path: string;
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-map-'));
    path = join(folder, 'disk.dirty.json');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const rows = async (text: string, sizeBytes: number): Promise<DirtyRow[]> => {
    await writeFile(path, text);
    const read: DirtyRow[] = [];
    for await (const row of readDirtyRows(path, sizeBytes)) read.push(row);
    return read;
  };
  // What nbdinfo 1.14 prints.
  const clean = '{ "offset": 0, "length": 65536, "type": 0, "description": "clean"}';
  const dirty = '{ "offset": 65536, "length": 512, "type": 1, "description": "dirty"}';

  it('is read as nbdinfo prints it', async () => {
    expect(await rows(`[\n${clean},\n${dirty}\n]\n`, 66_048)).toEqual([
      { offset: 0, length: 65_536, dirty: false },
      { offset: 65_536, length: 512, dirty: true },
    ]);
    expect(await rows('[\n\n]\n', 0)).toEqual([]);
  });

  it.each([
    ['ends too early', `[\n${clean}\n]\n`],
    ['is cut', `[\n${clean},\n${dirty.slice(0, 30)}`],
    ['leaves something out', `[\n${dirty}\n]\n`],
    ['goes beyond the disk', `[\n${clean},\n${dirty.replace('512', '1024')}\n]\n`],
    ['has an empty row', `[\n${clean.replace('65536', '0')},\n${dirty}\n]\n`],
    ['is none', 'Not a map\n'],
    ['is empty', ''],
  ])('that %s is refused: what it leaves out would be taken for unchanged', async (_what, text) => {
    await expect(rows(text, 66_048)).rejects.toMatchObject({ code: 'EIO' });
  });
});

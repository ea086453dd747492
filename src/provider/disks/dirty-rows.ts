import { open } from 'node:fs/promises';
import { StillError } from '../../errors.js';

/** A range of a disk, in bytes, and whether it has changed. */
export interface DirtyRow {
  readonly offset: number;
  readonly length: number;
  readonly dirty: boolean;
}

/** A row as `nbdinfo --map --json` prints it: one a line. Bit 0 of a dirty bitmap's type is "dirty". */
const rowPattern = /^\{ ?"offset": (\d{1,16}), "length": (\d{1,16}), "type": (\d{1,10}),/;

/**
 * Reads a dirty map (`<disk>.dirty.json`) row by row, however long it is. Rows cover the disk from its first byte to its last;
 * a map that does not is refused (EIO), for what it leaves out would be taken for unchanged.
 */
export async function* readDirtyRows(
  path: string,
  sizeBytes: number,
): AsyncGenerator<DirtyRow, void, undefined> {
  const file = await open(path, 'r');
  let end = 0;
  try {
    for await (const line of file.readLines({ encoding: 'latin1' })) {
      if (line === '[' || line === ']' || line === '') continue;
      const [, offset, length, type] = rowPattern.exec(line) ?? [];
      const row = { offset: Number(offset), length: Number(length), dirty: (Number(type) & 1) === 1 };
      if (row.offset !== end || !(row.length > 0) || end + row.length > sizeBytes)
        throw new StillError('EIO', `${path} is no map of the whole disk: after ${end} comes ${line}`);
      end += row.length;
      yield row;
    }
  } finally {
    await file.close();
  }
  if (end !== sizeBytes)
    throw new StillError('EIO', `${path} is no map of the whole disk: it ends at ${end} of ${sizeBytes}`);
}

/** The map of a disk all of which is to be stored. */
export async function* allDirty(sizeBytes: number): AsyncGenerator<DirtyRow, void, undefined> {
  if (sizeBytes > 0) yield { offset: 0, length: sizeBytes, dirty: true };
}

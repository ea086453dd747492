import { closeSync, constants } from 'node:fs';
import { hasCode } from '../../errors.js';
import type { Name } from '../../name.js';
import { type DirectoryRow, readDirectory } from '../../posix/getdents.js';
import { openBeneath } from '../../posix/openat2.js';

/** How many bytes of rows one call gives: about 400 entries, whose attributes take about 3 ms of this thread. */
const room = 16 * 1024;
/** The bytes of a row: 19, the name and its NUL, rounded up to 8 (struct linux_dirent64). */
const bytesOf = ({ name }: DirectoryRow): number => (19 + name.length + 1 + 7) & ~7;
/** With fewer bytes than this there was room for any other row, so that these are probably the last. */
const full = room - 280;

/** Some rows of a folder, without `.` and `..`. */
export interface Rows {
  readonly rows: readonly DirectoryRow[];
  /** True where it is certain that nothing follows. */
  readonly last: boolean;
}

/** Reads on in a folder after a position (0n: from the start). Waits in the pool. */
export async function readRows(folder: number, after: bigint): Promise<Rows> {
  const descriptor = await openForListing(folder);
  try {
    const rows: DirectoryRow[] = [];
    let bytes = 0;
    for (let position = after; ; ) {
      const read = await readDirectory(descriptor, position, room);
      const end = read.at(-1);
      if (!end) return { rows, last: true };
      for (const row of read) {
        bytes += bytesOf(row);
        if (row.name !== '.' && row.name !== '..') rows.push(row);
      }
      if (rows.length > 0 && bytes >= full) return { rows, last: false };
      position = end.next;
    }
  } finally {
    // A folder that was only read has nothing to tell a server.
    closeSync(descriptor);
  }
}

async function openForListing(folder: number): Promise<number> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY;
  try {
    return await openBeneath(folder, '' as Name, flags | constants.O_NOATIME);
  } catch (error) {
    if (!hasCode(error, 'EPERM')) throw error;
    return openBeneath(folder, '' as Name, flags);
  }
}

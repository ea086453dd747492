import { closeSync, constants } from 'node:fs';
import { hasCode } from '../../errors.js';
import type { Name } from '../../name.js';
import { type DirectoryRow, readDirectory } from '../../posix/getdents.js';
import { openBeneath } from '../../posix/openat2.js';

/** How many bytes of rows one call gives: about 400 entries, whose attributes take about 3 ms of this thread. */
const room = 16 * 1024;
/** Fewer bytes than this are probably the last, so that it is worth the calls to make sure. */
const probablyLast = room / 2;
const rowHead = 19;

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
        bytes += rowHead + row.name.length;
        if (row.name !== '.' && row.name !== '..') rows.push(row);
      }
      if (rows.length > 0 && bytes >= probablyLast) return { rows, last: false };
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

import type { Disk } from '../disk.js';
import { bytesOf, type Checked, refused } from './check.js';

// [MS-VHDX] sections 2.1 (layout), 2.2.3 (region table), 2.6 (metadata region); little-endian
const regionTables = [192 * 1024, 256 * 1024];
const regionTableBytes = 64 * 1024;
const metadataRegion = '06a27c8b90479a4bb8fe575f050f886e';
const fileParameters = '3767a1ca36fa434db3b633f0aa44e76b';
const parentLocator = '2d5fd3a80bb34d45abf7d3d84834ab0c';
const hasParent = 2;
const mostEntries = 2047;

/** Refuses a VHDX that builds on another one. */
export async function checkVhdx(image: Disk, subject: string, signal?: AbortSignal): Promise<Checked> {
  const start = await bytesOf(image, 0, 8, signal);
  if (start.toString('latin1') !== 'vhdxfile') throw refused(subject, 'it has no VHDX header');
  let found = false;
  for (const at of regionTables) {
    const table = await bytesOf(image, at, regionTableBytes, signal);
    for (const { id, row } of rows(table, 'regi', 8, 16)) {
      if (id !== metadataRegion) continue;
      found = true;
      await checkMetadata(image, Number(row.readBigUInt64LE(16)), subject, signal);
    }
  }
  if (!found) throw refused(subject, 'it has no metadata region');
  return { needsTrueEnd: false };
}

async function checkMetadata(image: Disk, at: number, subject: string, signal?: AbortSignal): Promise<void> {
  if (!Number.isSafeInteger(at) || at > image.size) throw refused(subject, 'its metadata lie beyond its end');
  const table = await bytesOf(image, at, regionTableBytes, signal);
  for (const { id, row } of rows(table, 'metadata', 10, 32)) {
    if (id === parentLocator) throw refused(subject, 'it names another image as its parent');
    if (id !== fileParameters) continue;
    const item = await bytesOf(image, at + row.readUInt32LE(16), 8, signal);
    if (item.length < 8 || (item.readUInt32LE(4) & hasParent) !== 0)
      throw refused(subject, 'it builds on another image');
  }
}

/** The rows of 32 bytes of a table with a signature, a count at `countAt` and a header of `headerBytes`. */
function* rows(
  table: Buffer,
  signature: string,
  countAt: number,
  headerBytes: number,
): Iterable<{ id: string; row: Buffer }> {
  if (table.length < headerBytes) return;
  if (table.subarray(0, signature.length).toString('latin1') !== signature) return;
  const count = signature === 'regi' ? table.readUInt32LE(countAt) : table.readUInt16LE(countAt);
  for (let place = 0; place < Math.min(count, mostEntries); place++) {
    const row = table.subarray(headerBytes + place * 32, headerBytes + (place + 1) * 32);
    if (row.length < 32) return;
    yield { id: row.subarray(0, 16).toString('hex'), row };
  }
}

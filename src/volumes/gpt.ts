import { crc32 } from '../crc32.js';
import type { Disk } from '../disks/disk.js';
import { StillError } from '../errors.js';
import { mostPartitions, type Partition } from './partition.js';

// UEFI Specification, 5.3 "GUID Partition Table Disk Layout"
const signature = Buffer.from('EFI PART', 'latin1');
const smallestHeader = 92;
const smallestEntry = 128;
const largestEntry = 4096;
/** Bytes of entries that are read: those of Linux's own tools have 16 KiB. */
const mostEntryBytes = 4 * 1024 * 1024;
const nameAt = 56;
const nameEnd = 128;
const noType = '00000000-0000-0000-0000-000000000000';

/** A sector is what the disk calls so: one with 4096 bytes a sector keeps its table otherwise than one with 512. */
const sectorSizes = [512, 4096] as const;

export interface GptHeader {
  /** Bytes. */
  readonly sectorBytes: number;
  /** Where the other copy of this header is: a sector's number. */
  readonly otherSector: number;
  /** Bytes from the disk's start. */
  readonly entriesOffset: number;
  readonly entryCount: number;
  /** Bytes. */
  readonly entryBytes: number;
  readonly entriesChecksum: number;
}

/** A GPT as it was found: where neither copy is whole there are no partitions. */
export interface Gpt {
  readonly partitions: readonly Partition[];
  /** Sentences about what is wrong with it, without the disk's name in front. */
  readonly problems: readonly string[];
}

/**
 * Reads a disk's GPT: the copy at its start, the one at its end where that is damaged. Undefined: there is no trace of
 * one. Whether it holds is for the MBR in front of it to say.
 */
export async function readGpt(disk: Disk, signal: AbortSignal): Promise<Gpt | undefined> {
  const damage = new Set<string>();
  for (const sectorBytes of sectorSizes) {
    const last = Math.floor(disk.size / sectorBytes) - 1;
    const primary = await headerAt(disk, sectorBytes, 1, signal);
    const header = typeof primary === 'object' ? primary : undefined;
    // A disk that has grown has its second copy where the first one says, not at its end.
    const backups = new Set([header?.otherSector ?? last, last]);
    for (const sector of [1, ...backups]) {
      const found = sector === 1 ? primary : await headerAt(disk, sectorBytes, sector, signal);
      const gpt = typeof found === 'object' ? await readEntries(disk, found, signal) : found;
      if (typeof gpt === 'string') damage.add(gpt);
      if (typeof gpt !== 'object') continue;
      if (sector === 1) return gpt;
      const why = [...damage].join('; ') || 'it is missing';
      const problem = `the GPT at its start is damaged (${why}); the copy at its end is taken`;
      return { partitions: gpt.partitions, problems: [problem, ...gpt.problems] };
    }
  }
  if (damage.size === 0) return undefined;
  return {
    partitions: [],
    problems: [`its GPT is damaged, in both of its copies (${[...damage].join('; ')})`],
  };
}

/** The header in a sector, undefined where there is none; as text, what is wrong with it. */
async function headerAt(
  disk: Disk,
  sectorBytes: number,
  sector: number,
  signal: AbortSignal,
): Promise<GptHeader | string | undefined> {
  if (sector < 1 || (sector + 1) * sectorBytes > disk.size) return undefined;
  return orDamage(signal, async () => {
    const bytes = Buffer.alloc(sectorBytes);
    await disk.read(sector * sectorBytes, bytes, signal);
    return parseGptHeader(bytes, sector, disk.size);
  });
}

async function readEntries(disk: Disk, header: GptHeader, signal: AbortSignal): Promise<Gpt | string> {
  return orDamage(signal, async () => {
    const entries = Buffer.alloc(header.entryCount * header.entryBytes);
    await disk.read(header.entriesOffset, entries, signal);
    if (crc32(entries) !== header.entriesChecksum) throw damaged('the checksum of its entries is wrong');
    return parseEntries(entries, header);
  });
}

async function orDamage<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | string> {
  try {
    return await work();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StillError) return error.message;
    throw error;
  }
}

/** Reads and checks a sector that may hold a header. Undefined: it holds none. EIO: it is damaged. */
export function parseGptHeader(bytes: Buffer, sector: number, diskBytes: number): GptHeader | undefined {
  if (!bytes.subarray(0, 8).equals(signature)) return undefined;
  const sectorBytes = bytes.length;
  const headerBytes = bytes.readUInt32LE(12);
  if (headerBytes < smallestHeader || headerBytes > sectorBytes)
    throw damaged(`a header of ${headerBytes} bytes`);
  const header = Buffer.from(bytes.subarray(0, headerBytes));
  header.writeUInt32LE(0, 16);
  if (crc32(header) !== bytes.readUInt32LE(16)) throw damaged('the checksum of its header is wrong');
  const own = bytes.readBigUInt64LE(24);
  if (own !== BigInt(sector)) throw damaged(`its header at sector ${sector} says that it is at ${own}`);

  const entryCount = bytes.readUInt32LE(80);
  const entryBytes = bytes.readUInt32LE(84);
  const isPowerOfTwo = (entryBytes & (entryBytes - 1)) === 0;
  if (entryBytes < smallestEntry || entryBytes > largestEntry || !isPowerOfTwo)
    throw damaged(`entries of ${entryBytes} bytes`);
  if (entryCount === 0 || entryCount * entryBytes > mostEntryBytes) throw damaged(`${entryCount} entries`);
  const entriesSector = bytes.readBigUInt64LE(72);
  const sectors = BigInt(Math.floor(diskBytes / sectorBytes));
  const entriesOffset = Number(entriesSector) * sectorBytes;
  if (entriesSector < 2n) throw damaged(`its entries begin at sector ${entriesSector}`);
  if (entriesSector >= sectors || entryCount * entryBytes > diskBytes - entriesOffset)
    throw damaged(`its entries lie at sector ${entriesSector}, beyond the end of the disk`);
  return {
    sectorBytes,
    otherSector: Number(bytes.readBigUInt64LE(32)),
    entriesOffset,
    entryCount,
    entryBytes,
    entriesChecksum: bytes.readUInt32LE(88),
  };
}

function parseEntries(bytes: Buffer, { sectorBytes, entryBytes, entryCount }: GptHeader): Gpt {
  const partitions: Partition[] = [];
  const problems: string[] = [];
  for (let index = 0; index < entryCount; index++) {
    const entry = bytes.subarray(index * entryBytes, (index + 1) * entryBytes);
    if (guid(entry, 0) === noType) continue;
    const number = index + 1;
    const first = entry.readBigUInt64LE(32);
    const last = entry.readBigUInt64LE(40);
    if (first < 1n || last < first || (last + 1n) * BigInt(sectorBytes) > BigInt(Number.MAX_SAFE_INTEGER)) {
      problems.push(`partition ${number} is left out: it goes from sector ${first} to ${last}`);
    } else if (partitions.length === mostPartitions) {
      problems.push(
        `it has more than ${mostPartitions} partitions: the rest, from ${number} on, is left out`,
      );
      break;
    } else {
      const label = nameOf(entry);
      partitions.push({
        number,
        offset: Number(first) * sectorBytes,
        size: Number(last - first + 1n) * sectorBytes,
        uuid: guid(entry, 16),
        ...(label !== '' && { label }),
      });
    }
  }
  return { partitions, problems: problems.slice(0, 16) };
}

/** A GUID as text: its first three fields are little-endian. */
function guid(bytes: Buffer, at: number): string {
  const field = (...places: number[]): string =>
    places.map((place) => (bytes[at + place] ?? 0).toString(16).padStart(2, '0')).join('');
  return [field(3, 2, 1, 0), field(5, 4), field(7, 6), field(8, 9), field(10, 11, 12, 13, 14, 15)].join('-');
}

function nameOf(entry: Buffer): string {
  const text = entry.toString('utf16le', nameAt, nameEnd);
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

function damaged(what: string): StillError {
  return new StillError('EIO', what);
}

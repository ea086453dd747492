import type { Disk } from '../disks/disk.js';
import { StillError } from '../errors.js';
import { mostPartitions, type Partition } from './partition.js';

// Linux: block/partitions/msdos.c; a sector is one of 512 bytes here.
export const sectorBytes = 512;
const signatureAt = 510;
const diskSignatureAt = 440;
const tableAt = 446;
const entryBytes = 16;
const protective = 0xee;
const extendedTypes: ReadonlySet<number> = new Set([0x05, 0x0f, 0x85]);
const firstLogical = 5;
/** So many links without a partition are followed, as Linux does. */
const mostEmptyLinks = 100;

/** One of the four rows of a table. Sectors. */
export interface MbrEntry {
  readonly slot: number;
  readonly type: number;
  readonly start: number;
  readonly length: number;
}

/** The first sector of a disk that has a partition table. */
export interface Mbr {
  /** Its rows that tell of something. */
  readonly entries: readonly MbrEntry[];
  /** 0: none. */
  readonly diskSignature: number;
}

/** Reads what may be a table. Undefined: it is none, for its mark or its boot indicators are not those of one. */
export function parseMbr(sector: Buffer): Mbr | undefined {
  if (!hasMark(sector)) return undefined;
  for (let at = tableAt; at < signatureAt; at += entryBytes) {
    // The boot sectors of file systems have the same mark, and a program where the table would be.
    if (sector[at] !== 0 && sector[at] !== 0x80) return undefined;
  }
  return { entries: entriesOf(sector), diskSignature: sector.readUInt32LE(diskSignatureAt) };
}

function hasMark(sector: Buffer): boolean {
  return sector.length >= sectorBytes && sector.readUInt16LE(signatureAt) === 0xaa55;
}

function entriesOf(sector: Buffer): MbrEntry[] {
  const entries: MbrEntry[] = [];
  for (let slot = 1; slot <= 4; slot++) {
    const at = tableAt + (slot - 1) * entryBytes;
    const type = sector[at + 4] ?? 0;
    const start = sector.readUInt32LE(at + 8);
    const length = sector.readUInt32LE(at + 12);
    if (length > 0 && type !== 0) entries.push({ slot, type, start, length });
  }
  return entries;
}

/** Whether it stands in front of a GPT, be it with partitions of its own (a hybrid). */
export function isProtective({ entries }: Mbr): boolean {
  return entries.some(({ type, start }) => type === protective && start === 1);
}

/** Whether the rows are what a partitioning program writes: on the disk, apart from each other, not over the table itself. */
export function isPlausible({ entries }: Mbr, diskBytes: number): boolean {
  const rows = [...entries].sort((one, other) => one.start - other.start);
  return (
    rows.length > 0 &&
    rows.every(({ start, length }, index) => {
      const next = rows[index + 1]?.start ?? Number.POSITIVE_INFINITY;
      return start > 0 && start + length <= next && (start + length) * sectorBytes <= diskBytes;
    })
  );
}

/** The partitions of a table, those in its extended partition too. `problem` is called without the disk's name. */
export async function mbrPartitions(
  disk: Disk,
  mbr: Mbr,
  { signal, problem }: { signal: AbortSignal; problem: (sentence: string) => void },
): Promise<readonly Partition[]> {
  const partitions: Partition[] = [];
  const add = (number: number, { start, length }: { start: number; length: number }): void => {
    const uuid = partitionUuid(mbr.diskSignature, number);
    partitions.push({
      number,
      offset: start * sectorBytes,
      size: length * sectorBytes,
      ...(uuid !== undefined && { uuid }),
    });
  };
  for (const entry of mbr.entries) {
    if (!extendedTypes.has(entry.type) && entry.type !== protective) add(entry.slot, entry);
  }
  let number = firstLogical;
  for (const entry of mbr.entries) {
    if (!extendedTypes.has(entry.type)) continue;
    try {
      for await (const logical of logicalPartitions(disk, entry, signal)) {
        if (partitions.length === mostPartitions) {
          problem(`it has more than ${mostPartitions} partitions: the rest, from ${number} on, is left out`);
          return partitions;
        }
        add(number++, logical);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      problem(
        `its extended partition is damaged, logical partitions from ${number} on may be missing: ${error.message}`,
      );
    }
  }
  return partitions;
}

/** Follows the chain of an extended partition: each link has a partition, relative to itself, and the place of the next. */
async function* logicalPartitions(
  disk: Disk,
  extended: MbrEntry,
  signal: AbortSignal,
): AsyncGenerator<{ readonly start: number; readonly length: number }> {
  const seen = new Set<number>();
  const sector = Buffer.alloc(sectorBytes);
  let emptyLinks = 0;
  for (let at: number | undefined = extended.start; at !== undefined; ) {
    if (seen.has(at)) throw new StillError('EIO', `its chain comes back to sector ${at}`);
    if (emptyLinks++ > mostEmptyLinks)
      throw new StillError('EIO', `its chain has more than ${mostEmptyLinks} links without a partition`);
    seen.add(at);
    if ((at + 1) * sectorBytes > disk.size)
      throw new StillError('EIO', `its chain leads to sector ${at}, beyond the end of the disk`);
    await disk.read(at * sectorBytes, sector, signal);
    if (!hasMark(sector)) throw new StillError('EIO', `there is no partition table at sector ${at}`);
    const entries = entriesOf(sector);
    for (const { slot, type, start, length } of entries) {
      if (extendedTypes.has(type)) continue;
      // The third and fourth rows are OS/2's, which may hold anything.
      if (slot > 2 && (start + length > extended.length || at + start < extended.start)) continue;
      emptyLinks = 0;
      yield { start: at + start, length };
    }
    const next: MbrEntry | undefined = entries.find(({ type }) => extendedTypes.has(type));
    at = next && extended.start + next.start;
  }
}

/** As blkid(8) has it; none where the disk has no signature. */
function partitionUuid(diskSignature: number, number: number): string | undefined {
  if (diskSignature === 0) return undefined;
  return `${hexadecimal(diskSignature, 8)}-${hexadecimal(number, 2)}`;
}

function hexadecimal(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

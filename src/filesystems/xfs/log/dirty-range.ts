import { StillError } from '../../../errors.js';
import { basicBlock } from '../addresses.js';
import type { PhysicalLog } from './physical-log.js';
import { readRecord } from './record.js';
import { blocksOf, parseRecordHeader, type RecordHeader } from './record-header.js';

/** So many records were under way at once, and may have come to the disk in any order, or in parts. */
const mostUnderWay = 8;
const unmountFlag = 0x20;

/** A part of the log, from one of its blocks up to another one (not included), around its end. */
export interface LogRange {
  readonly tail: number;
  readonly head: number;
}

interface Placed {
  readonly block: number;
  readonly header: RecordHeader;
}

/**
 * Finds what of the log may not have come to its places on the disk, the way xlog_find_tail of linux/fs/xfs/xfs_log_recover.c
 * does. Undefined: nothing, the file system was unmounted. EIO: it is no log, or is damaged.
 */
export async function dirtyRange(
  log: PhysicalLog,
  hasChecksums: boolean,
  signal: AbortSignal,
): Promise<LogRange | undefined> {
  const guess = await guessHead(log, signal);
  if (guess === undefined) return undefined;
  // Nothing is written after an unmount, and all was written before.
  const last = await recordBefore(log, guess.head, signal);
  if (last && (await isUnmount(log, last, guess.head, signal))) return undefined;
  const head = await wholeHead(log, await withoutGaps(log, guess, signal), signal);
  const range = await withoutTornWrites(log, head, hasChecksums, signal);
  return range && range.tail !== range.head ? range : undefined;
}

interface Guess {
  /** The block behind the last one of the newest cycle; the number of blocks where that is the last one of the log. */
  readonly head: number;
  /** The cycle that must not be found before the head, and the one that must not be found at the end of the log. */
  readonly gap: number;
}

async function guessHead(log: PhysicalLog, signal: AbortSignal): Promise<Guess | undefined> {
  const first = await log.cycle(0, signal);
  const last = await log.cycle(log.blocks - 1, signal);
  if (first === 0) return undefined;
  if (last === 0 && first !== 1) throw damaged('its cycles are none');
  if (first === last) return { head: log.blocks, gap: last - 1 };
  let low = 0;
  let high = log.blocks - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((await log.cycle(middle, signal)) === last) high = middle;
    else low = middle;
  }
  return { head: high, gap: last };
}

/** Writes may have come to the disk in another order: the log ends at the first gap. */
async function withoutGaps(log: PhysicalLog, { head, gap }: Guess, signal: AbortSignal): Promise<number> {
  const scanned = Math.min(log.blocks, (mostUnderWay * largestWrite(log)) / basicBlock);
  if (head >= scanned) return (await firstOfCycle(log, head - scanned, head, gap, signal)) ?? head;
  const atEnd = log.blocks - (scanned - head);
  const found =
    gap === 0 ? undefined : await firstOfCycle(log, Math.max(atEnd, head), log.blocks, gap - 1, signal);
  return found ?? (await firstOfCycle(log, 0, head, gap, signal)) ?? head;
}

async function firstOfCycle(
  log: PhysicalLog,
  from: number,
  to: number,
  cycle: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  for (let block = from; block < to; block++) if ((await log.cycle(block, signal)) === cycle) return block;
  return undefined;
}

/** Where a record was written in part the head is where it begins. */
async function wholeHead(log: PhysicalLog, head: number, signal: AbortSignal): Promise<number> {
  const last = await recordBefore(log, head, signal);
  if (!last) throw damaged('no record is before its end');
  const length = head > last.block ? head - last.block : head + log.blocks - last.block;
  const whole = length === blocksOf(last.header) ? head : last.block;
  return whole % log.blocks;
}

/** The last record that begins before a block, going back around the ring as far as the longest one can reach. */
async function recordBefore(
  log: PhysicalLog,
  head: number,
  signal: AbortSignal,
): Promise<Placed | undefined> {
  const farthest = Math.min(log.blocks, (2 * largestWrite(log)) / basicBlock);
  for (let back = 1; back <= farthest; back++) {
    const block = log.distance(back, head);
    if (!(await log.isRecord(block, signal))) continue;
    const header = parseRecordHeader(await log.read(block, 1, signal), log.version);
    if (header) return { block, header };
  }
  return undefined;
}

async function isUnmount(
  log: PhysicalLog,
  { block, header }: Placed,
  head: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (header.operations !== 1 || log.after(block, blocksOf(header)) !== head % log.blocks) return false;
  const data = await log.read(log.after(block, header.headerBlocks), 1, signal);
  return (data.readUInt8(9) & unmountFlag) !== 0;
}

/**
 * The range that can be read: a record near the head that is not what its checksum says was torn, and so was all behind it;
 * one at the tail that is not was overwritten after it was not needed any more.
 */
async function withoutTornWrites(
  log: PhysicalLog,
  found: number,
  hasChecksums: boolean,
  signal: AbortSignal,
): Promise<LogRange | undefined> {
  let last = await recordBefore(log, found, signal);
  if (!last) throw damaged('no record is before its end');
  if (await isUnmount(log, last, found, signal)) return undefined;
  let head = found;
  if (hasChecksums) {
    const torn = await firstTorn(log, last, head, signal);
    if (torn !== undefined) {
      head = torn;
      last = await recordBefore(log, head, signal);
      if (!last) throw damaged('its last records are damaged');
      if (await isUnmount(log, last, head, signal)) return undefined;
    }
  }
  const tail = last.header.tailBlock;
  if (tail >= log.blocks) throw damaged(`it begins at block ${tail}`);
  return { tail: hasChecksums ? await wholeTail(log, tail, head, last.header, signal) : tail, head };
}

/** The first of the records before the head that is damaged. */
async function firstTorn(
  log: PhysicalLog,
  last: Placed,
  head: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const tail = last.header.tailBlock;
  let first = last.block;
  for (let count = 1; count < mostUnderWay && first !== tail; count++) {
    const before = await recordBefore(log, first, signal);
    // Not further back than the tail, nor around the ring.
    if (!before || log.distance(before.block, head) < log.distance(first, head)) break;
    if (log.distance(before.block, head) > log.distance(tail, head)) break;
    first = before.block;
  }
  for (let at = first, left = log.distance(first, head); left > 0; ) {
    const record = await readRecord(log, at, true, signal);
    if (!record || blocksOf(record.header) > left) return at;
    left -= blocksOf(record.header);
    at = log.after(at, blocksOf(record.header));
  }
  return undefined;
}

async function wholeTail(
  log: PhysicalLog,
  tail: number,
  head: number,
  { writeSize }: RecordHeader,
  signal: AbortSignal,
): Promise<number> {
  const mayBeLost = (mostUnderWay * Math.max(writeSize, largestWrite(log) / mostUnderWay)) / basicBlock;
  for (let at = tail; at !== head; at = log.after(at, 1)) {
    if ((await log.isRecord(at, signal)) && (await readRecord(log, at, true, signal))) return at;
    if (log.distance(head, at) > mayBeLost) throw damaged(`its record at block ${at} is damaged`);
  }
  return head;
}

function largestWrite({ version }: PhysicalLog): number {
  return version === 2 ? 256 * 1024 : 32 * 1024;
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the log of the XFS file system is damaged: ${how}`);
}

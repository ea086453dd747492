import { StillError } from '../../../errors.js';
import type { LogRange } from './dirty-range.js';
import type { PhysicalLog } from './physical-log.js';
import { type LogRecord, readRecord } from './record.js';
import { blocksOf } from './record-header.js';

// struct xlog_op_header, big-endian, and struct xfs_trans_header, of the machine that wrote it
const operationHeader = 12;
const flag = { start: 0x01, commit: 0x02, goesOn: 0x04, wentOn: 0x08, end: 0x10, unmount: 0x20 } as const;
const headerBytes = 16;
const headerMagic = 0x5452414e;
const littleEndian = 1;
const mostRegions = 4096;
/** What transactions that are not complete may take up together, bytes. */
const mostHeld = 192 * 1024 * 1024;

/** Something that a transaction changed: a description, then the changed bytes in several regions. */
export interface LogItem {
  /** XFS_LI_*. */
  readonly type: number;
  readonly regions: readonly Buffer[];
}

/** A transaction that is in the log from its beginning to its end. */
export interface Transaction {
  /** The log sequence number of the record in which it begins. */
  readonly sequence: bigint;
  readonly items: readonly LogItem[];
}

interface OpenItem {
  readonly total: number;
  readonly regions: Buffer[];
}

interface OpenTransaction {
  readonly sequence: bigint;
  header: number;
  readonly items: OpenItem[];
}

/** The complete transactions of a part of the log, in the order in which they ended. EIO: the log is damaged. */
export async function* transactionsOf(
  log: PhysicalLog,
  range: LogRange,
  uuid: Buffer,
  hasChecksums: boolean,
  signal: AbortSignal,
): AsyncGenerator<Transaction> {
  const assembly = new Assembly();
  let left = log.distance(range.tail, range.head);
  for (let at = range.tail; left > 0; ) {
    const record = await readRecord(log, at, hasChecksums, signal);
    if (!record || blocksOf(record.header) > left) throw damaged(`its record at block ${at} is damaged`);
    const { header } = record;
    // Records without anything in them were written over what was torn: they tell of no machine.
    if (header.length > 0) {
      if (header.format !== littleEndian) throw damaged('it was written by a machine of another byte order');
      if (!header.uuid.equals(uuid)) throw damaged('it is of another file system');
      yield* assembly.take(record);
    }
    left -= blocksOf(header);
    at = log.after(at, blocksOf(header));
  }
}

/** Puts transactions together from the operations of records: several are written at a time, and regions are split. */
class Assembly {
  readonly #open = new Map<number, OpenTransaction>();
  #held = 0;

  *take({ header, data }: LogRecord): Generator<Transaction> {
    let at = 0;
    for (let left = header.operations; left > 0 && at < data.length; left--) {
      const bodyAt = at + operationHeader;
      if (bodyAt > data.length) throw damaged('an operation does not fit');
      const number = data.readUInt32BE(at);
      const length = data.readUInt32BE(at + 4);
      const flags = data.readUInt8(at + 9);
      if (length > data.length - bodyAt) throw damaged('an operation does not fit');
      const done = this.#operation(number, flags, data.subarray(bodyAt, bodyAt + length), header.sequence);
      if (done) yield done;
      at = bodyAt + length;
    }
  }

  #operation(number: number, flags: number, bytes: Buffer, sequence: bigint): Transaction | undefined {
    const open = this.#open.get(number);
    if (!open) {
      // What has no beginning here began before the tail: it is on the disk.
      if ((flags & flag.start) !== 0) this.#open.set(number, { sequence, header: 0, items: [] });
      return undefined;
    }
    if ((flags & flag.commit) !== 0) {
      this.#open.delete(number);
      return closed(open, (bytesHeld) => {
        this.#held -= bytesHeld;
      });
    }
    if ((flags & flag.unmount) !== 0) {
      this.#open.delete(number);
      return undefined;
    }
    if ((flags & flag.start) !== 0) throw damaged('a transaction begins twice');
    this.#held += bytes.length;
    if (this.#held > mostHeld) throw damaged(`its transactions hold more than ${mostHeld} bytes`);
    if ((flags & flag.wentOn) !== 0) goOn(open, bytes);
    else add(open, bytes);
    return undefined;
  }
}

function add(open: OpenTransaction, bytes: Buffer): void {
  if (bytes.length === 0) return;
  if (open.header === 0) {
    if (bytes.length > headerBytes || bytes.length < 4 || bytes.readUInt32LE(0) !== headerMagic)
      throw damaged('a transaction has no header');
    open.header = bytes.length;
    return;
  }
  let item = open.items.at(-1);
  if (!item || item.regions.length === item.total) {
    const total = bytes.length >= 4 ? bytes.readUInt16LE(2) : 0;
    if (total === 0 || total > mostRegions) throw damaged(`an item has ${total} regions`);
    item = { total, regions: [] };
    open.items.push(item);
  }
  item.regions.push(bytes);
}

/** The rest of a region whose first part is at the end of another record. */
function goOn(open: OpenTransaction, bytes: Buffer): void {
  const item = open.items.at(-1);
  const region = item?.regions.pop();
  if (item && region) item.regions.push(Buffer.concat([region, bytes]));
  else if (open.header + bytes.length <= headerBytes) open.header += bytes.length;
  else throw damaged('a region goes on that never began');
}

function closed(open: OpenTransaction, release: (bytes: number) => void): Transaction {
  const items: LogItem[] = [];
  for (const { total, regions } of open.items) {
    const [first] = regions;
    if (!first || regions.length !== total || first.length < 4) throw damaged('an item is not whole');
    items.push({ type: first.readUInt16LE(0), regions });
    release(regions.reduce((bytes, region) => bytes + region.length, 0));
  }
  return { sequence: open.sequence, items };
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the log of the XFS file system is damaged: ${how}`);
}

import { crc32c } from '../../crc32c.js';
import { basicBlock } from '../addresses.js';
import type { PhysicalLog } from './physical-log.js';
import { blocksOf, bytesOfHeader, parseRecordHeader, type RecordHeader } from './record-header.js';

/** Bytes of the first header that the checksum is of: the 32-bit x86 kernel has no padding at its end. */
const headerSizes = [328, 324];
const extensionHeader = 260;
const checksumAt = 32;
const cyclesAt = 44;
/** A header has the first words of so many blocks. */
const cyclesInHeader = 64;

/** A record of the log: what was written at once. */
export interface LogRecord {
  readonly header: RecordHeader;
  /** The operations, as they were before the cycle took the place of each block's first word. */
  readonly data: Buffer;
}

/**
 * Reads a record. Undefined: there is none, or it is damaged. `mustBeSummed`: one without the right checksum is taken for
 * damaged.
 */
export async function readRecord(
  log: PhysicalLog,
  block: number,
  mustBeSummed: boolean,
  signal: AbortSignal,
): Promise<LogRecord | undefined> {
  const header = parseRecordHeader(await log.read(block, 1, signal), log.version);
  if (!header || blocksOf(header) > log.blocks) return undefined;
  const bytes = await log.read(block, blocksOf(header), signal);
  const data = bytes.subarray(header.headerBlocks * basicBlock);
  if (mustBeSummed && !headerSizes.some((size) => sumOf(bytes, data, header, size) === header.checksum))
    return undefined;
  return { header, data: unpacked(bytes, data, header) };
}

function sumOf(bytes: Buffer, data: Buffer, { length }: RecordHeader, headerSize: number): number {
  const first = Buffer.from(bytes.subarray(0, headerSize));
  first.writeUInt32LE(0, checksumAt);
  let register = crc32c(0xffff_ffff, first);
  // Of further headers only those that tell cycles of the record, whatever room there is.
  for (let from = basicBlock; from < Math.ceil(length / bytesOfHeader) * basicBlock; from += basicBlock)
    register = crc32c(register, bytes, from, from + extensionHeader);
  return ~crc32c(register, data, 0, length) >>> 0;
}

function unpacked(bytes: Buffer, data: Buffer, { length }: RecordHeader): Buffer {
  const copy = Buffer.from(data.subarray(0, Math.ceil(length / basicBlock) * basicBlock));
  for (let index = 0; index * basicBlock < copy.length; index++) {
    const place = index % cyclesInHeader;
    const header = Math.floor(index / cyclesInHeader);
    const from = header === 0 ? cyclesAt + place * 4 : header * basicBlock + 4 + place * 4;
    bytes.copy(copy, index * basicBlock, from, from + 4);
  }
  return copy.subarray(0, length);
}

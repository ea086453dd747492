import { StillError } from '../../../errors.js';
import { basicBlock } from '../addresses.js';
import type { LogItem } from './transactions.js';

// struct xfs_buf_log_format of linux/fs/xfs/libxfs/xfs_log_format.h, of the byte order of the machine: little-endian
const mapAt = 20;
const wordBytes = 4;
const chunk = 128;
/** XFS_MAX_BLOCKSIZE; a buffer of inodes may be as large. */
const largestBuffer = 65536;
const flag = { inodes: 1 << 0, cancel: 1 << 1, dquots: (1 << 2) | (1 << 3) | (1 << 4) } as const;

/** A change of bytes on the disk. */
export interface BufferItem {
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
  /** What it holds; of inodes only the list of deleted ones is logged this way. */
  readonly kind: 'metadata' | 'inodes' | 'dquots';
  /** It says that the buffer is not used any more: what was logged of it before must not be written. */
  readonly isCancel: boolean;
  /** The changed bytes, each with its offset in the buffer. */
  readonly changes: ReadonlyArray<{ readonly at: number; readonly bytes: Buffer }>;
}

/** EIO: it is damaged. */
export function parseBufferItem({ regions }: LogItem): BufferItem {
  const [format, ...data] = regions;
  if (!format || format.length < mapAt + wordBytes) throw damaged('it is too short');
  const flags = format.readUInt16LE(4);
  const length = format.readUInt16LE(6) * basicBlock;
  const place = Number(format.readBigInt64LE(8));
  const words = format.readUInt32LE(16);
  if (place < 0 || length === 0 || length > largestBuffer)
    throw damaged(`it is of ${length} bytes at ${place}`);
  const isCancel = (flags & flag.cancel) !== 0;
  const mapBytes = words * wordBytes;
  if (mapAt + mapBytes > format.length) throw damaged('its map is too long');
  return {
    offset: place * basicBlock,
    length,
    kind: (flags & flag.inodes) !== 0 ? 'inodes' : (flags & flag.dquots) !== 0 ? 'dquots' : 'metadata',
    isCancel,
    changes: isCancel ? [] : changesOf(format.subarray(mapAt, mapAt + mapBytes), data, length),
  };
}

/** Each run of bits in the map is one region, or several: those are cut where pages of memory end. */
function changesOf(map: Buffer, data: readonly Buffer[], length: number): BufferItem['changes'] {
  const changes: Array<{ at: number; bytes: Buffer }> = [];
  const bits = map.length * 8;
  const isSet = (bit: number): boolean => ((map[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  let region = 0;
  for (let bit = 0; bit < bits; ) {
    if (!isSet(bit)) {
      bit++;
      continue;
    }
    let run = 1;
    while (bit + run < bits && isSet(bit + run)) run++;
    const bytes = data[region++];
    const size = bytes ? Math.min(run * chunk, bytes.length - (bytes.length % chunk)) : 0;
    if (!bytes || size === 0 || bit * chunk + size > length) throw damaged('its map is not of its bytes');
    changes.push({ at: bit * chunk, bytes: bytes.subarray(0, size) });
    bit += size / chunk;
  }
  return changes;
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the log of the XFS file system has a damaged buffer: ${how}`);
}

import { StillError } from '../../../errors.js';
import { crc32c } from '../../crc32c.js';
import { type JournalSuperblock, journalMagic } from './journal-superblock.js';

// linux include/linux/jbd2.h: struct journal_header_s; journal_block_tag_s and _tag3_s; jbd2_journal_revoke_header_s;
// commit_header. All big-endian
const headerBytes = 12;
const uuidBytes = 16;
const tailBytes = 4;
const flagEscaped = 1;
const flagSameUuid = 2;
const flagLast = 8;
const revokeHeaderBytes = 16;
const crc32Type = 1;

const kinds = new Map([
  [1, 'descriptor'],
  [2, 'commit'],
  [5, 'revoke'],
] as const);
export type LogBlockKind = 'descriptor' | 'commit' | 'revoke';

/** What a descriptor tells of a block that follows it in the log. */
export interface BlockTag {
  /** Where it belongs, in the file system. */
  readonly block: number;
  /** Whether its first four bytes were the journal's magic number, and were put out. */
  readonly escaped: boolean;
  /** Of the block, where the journal has them; 16 bits of it with checksums v2. */
  readonly checksum: number;
}

/** Takes the blocks of a log apart. */
export class LogBlocks {
  readonly #superblock: JournalSuperblock;
  readonly #sealed: boolean;

  constructor(superblock: JournalSuperblock) {
    this.#superblock = superblock;
    this.#sealed = superblock.checksums === 'v2' || superblock.checksums === 'v3';
  }

  /** What a block of the log is; undefined for what is none of this transaction's. */
  kind(bytes: Buffer, sequence: number): LogBlockKind | undefined {
    if (bytes.readUInt32BE(0) !== journalMagic || bytes.readUInt32BE(8) !== sequence) return undefined;
    return [...kinds].find(([number]) => number === bytes.readUInt32BE(4))?.[1];
  }

  /** Whether the checksum of a descriptor or of revoked blocks is right, where it has one. */
  isIntact(bytes: Buffer): boolean {
    if (!this.#sealed) return true;
    const tail = bytes.length - tailBytes;
    const begun = crc32c(this.#superblock.checksumSeed, bytes, 0, tail);
    return crc32c(begun, Buffer.alloc(tailBytes)) === bytes.readUInt32BE(tail);
  }

  tags(bytes: Buffer): BlockTag[] {
    const { checksums, isWide } = this.#superblock;
    const tagBytes = checksums === 'v3' ? 16 : 8 + (checksums === 'v2' ? 2 : 0) + (isWide ? 4 : 0);
    const end = bytes.length - (this.#sealed ? tailBytes : 0);
    const tags: BlockTag[] = [];
    for (let at = headerBytes; at + tagBytes <= end; ) {
      const flags = bytes.readUInt16BE(at + 6);
      const high = isWide ? bytes.readUInt32BE(at + 8) * 2 ** 32 : 0;
      const block = bytes.readUInt32BE(at) + high;
      const checksum = checksums === 'v3' ? bytes.readUInt32BE(at + 12) : bytes.readUInt16BE(at + 4);
      tags.push({ block, escaped: (flags & flagEscaped) !== 0, checksum });
      if ((flags & flagLast) !== 0) break;
      at += tagBytes + ((flags & flagSameUuid) === 0 ? uuidBytes : 0);
    }
    return tags;
  }

  /** The blocks whose former changes are not to be replayed. EIO: it is damaged. */
  revoked(bytes: Buffer): number[] {
    const end = bytes.readUInt32BE(headerBytes);
    if (end > bytes.length - (this.#sealed ? tailBytes : 0))
      throw new StillError('EIO', `it tells of ${end} bytes of revoked blocks in a block of ${bytes.length}`);
    const step = this.#superblock.isWide ? 8 : 4;
    const blocks: number[] = [];
    for (let at = revokeHeaderBytes; at + step <= end; at += step)
      blocks.push(step === 8 ? Number(bytes.readBigUInt64BE(at)) : bytes.readUInt32BE(at));
    return blocks;
  }

  /** Nanoseconds since 1970. */
  commitTime(bytes: Buffer): bigint {
    return bytes.readBigUInt64BE(0x30) * 1_000_000_000n + BigInt(bytes.readUInt32BE(0x38));
  }

  /** Whether a commit's checksum is right, where it has one. `ofTransaction`: of all blocks before it, with checksums v1. */
  isCommitIntact(bytes: Buffer, ofTransaction: number): boolean {
    const stored = bytes.readUInt32BE(0x10);
    if (this.#superblock.checksums === 'v1') {
      const [type, size] = [bytes.readUInt8(0x0c), bytes.readUInt8(0x0d)];
      const unused = type === 0 && size === 0 && stored === 0;
      return unused || (type === crc32Type && size === 4 && stored === ofTransaction);
    }
    if (!this.#sealed) return true;
    const begun = crc32c(crc32c(this.#superblock.checksumSeed, bytes, 0, 0x10), Buffer.alloc(4));
    return crc32c(begun, bytes, 0x14) === stored;
  }

  /** Whether a block that a tag tells of is what was written. */
  isBlockIntact(bytes: Buffer, sequence: number, checksum: number): boolean {
    if (!this.#sealed) return true;
    const number = Buffer.alloc(4);
    number.writeUInt32BE(sequence);
    const found = crc32c(crc32c(this.#superblock.checksumSeed, number), bytes);
    return this.#superblock.checksums === 'v3' ? found === checksum : (found & 0xffff) === checksum;
  }
}

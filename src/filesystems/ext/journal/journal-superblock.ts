import { StillError } from '../../../errors.js';
import { crc32c } from '../../crc32c.js';

// linux include/linux/jbd2.h: struct journal_superblock_s, big-endian; JBD2_FEATURE_*
export const journalMagic = 0xc03b_3998;
export const journalSuperblockBytes = 1024;
const version1 = 3;
const version2 = 4;
const checksumAt = 0xfc;
const crc32cType = 4;
const startOfChecksums = 0xffff_ffff;
const compatibleChecksum = 0x1;
const incompatible = {
  revoke: 0x1,
  wide: 0x2,
  asyncCommit: 0x4,
  csumV2: 0x8,
  csumV3: 0x10,
  fastCommit: 0x20,
};
const known = Object.values(incompatible).reduce((all, bit) => all | bit, 0);
const usualFastCommitBlocks = 256;
/** No journal that mke2fs(8) makes has more blocks; a walk through one ends. */
const mostBlocks = 2 ** 24;

/** How blocks in the journal are sealed: 1: a transaction as a whole; 2 and 3: each block. */
export type JournalChecksums = 'none' | 'v1' | 'v2' | 'v3';

/** What the first block of a journal tells. Blocks are numbered from the journal's start. */
export interface JournalSuperblock {
  /** The first block of the log, and the one behind its last, where it goes on at the first. */
  readonly first: number;
  readonly end: number;
  /** The transaction that is to be replayed first, and where it begins; 0: there is none. */
  readonly sequence: number;
  readonly start: number;
  readonly checksums: JournalChecksums;
  /** What the checksums of blocks begin with. */
  readonly checksumSeed: number;
  /** Whether block numbers have 64 bits. */
  readonly isWide: boolean;
  readonly asyncCommits: boolean;
  /** Where fast commits lie, if it has a place for them. */
  readonly fastCommits: { readonly first: number; readonly end: number } | undefined;
}

/** Reads and checks the first block of a journal. EIO: it is damaged. EOPNOTSUPP: it has features that are not known here. */
export function parseJournalSuperblock(
  bytes: Buffer,
  blockBytes: number,
  inodeBlocks: number,
): JournalSuperblock {
  const word = (at: number): number => bytes.readUInt32BE(at);
  const version = word(0x04);
  if (word(0x00) !== journalMagic || (version !== version1 && version !== version2))
    throw damaged('it has another magic number');
  if (word(0x0c) !== blockBytes) throw damaged(`its blocks have ${word(0x0c)} bytes`);
  const features = version === version2 ? word(0x28) : 0;
  if ((features & ~known) !== 0)
    throw new StillError(
      'EOPNOTSUPP',
      `it has unknown features (0x${((features & ~known) >>> 0).toString(16)})`,
    );
  const has = (bit: number): boolean => (features & bit) !== 0;
  const checksums = has(incompatible.csumV3)
    ? 'v3'
    : has(incompatible.csumV2)
      ? 'v2'
      : version === version2 && (word(0x24) & compatibleChecksum) !== 0
        ? 'v1'
        : 'none';
  if (checksums === 'v2' || checksums === 'v3') mustBeIntact(bytes);

  const blocks = word(0x10);
  const first = word(0x14);
  if (blocks > inodeBlocks || blocks > mostBlocks) throw damaged(`it is said to have ${blocks} blocks`);
  const ofFastCommits = has(incompatible.fastCommit) ? word(0x54) || usualFastCommitBlocks : 0;
  const end = blocks - ofFastCommits;
  const start = word(0x1c);
  if (first < 1 || first >= end || (start !== 0 && (start < first || start >= end)))
    throw damaged(`its log goes from ${first} to ${end}, and is said to begin at ${start}`);
  return {
    first,
    end,
    sequence: word(0x18),
    start,
    checksums,
    checksumSeed: crc32c(startOfChecksums, bytes, 0x30, 0x40),
    isWide: has(incompatible.wide),
    asyncCommits: has(incompatible.asyncCommit),
    // One block between the two is not used (jbd2_journal_load).
    fastCommits: ofFastCommits === 0 ? undefined : { first: end + 1, end: blocks },
  };
}

function mustBeIntact(bytes: Buffer): void {
  let checksum = crc32c(startOfChecksums, bytes, 0, checksumAt);
  checksum = crc32c(checksum, Buffer.alloc(4));
  checksum = crc32c(checksum, bytes, checksumAt + 4, journalSuperblockBytes);
  if (bytes.readUInt8(0x50) !== crc32cType || checksum !== bytes.readUInt32BE(checksumAt))
    throw damaged('its checksum is wrong');
}

function damaged(how: string): StillError {
  return new StillError('EIO', `its first block is damaged: ${how}`);
}

import { StillError } from '../../errors.js';
import { type Attribute, parseAttributes } from './attribute.js';
import { unprotected } from './multi-sector.js';

// ntfs-3g's layout.h: struct MFT_RECORD
const magic = 0x454c_4946;
const headerBytes = 42;
const flagOf = { inUse: 1, directory: 2 } as const;

/** Stands for a file: the number of its base record, and how often that record has been used. */
export interface FileReference {
  readonly record: number;
  /** 0: it is not to be checked. */
  readonly sequence: number;
}

/** A record of the master file table. */
export interface MftRecord {
  readonly number: number;
  readonly sequence: number;
  readonly inUse: boolean;
  readonly directory: boolean;
  /** The file whose other attributes it holds; undefined for the record that is the file's own. */
  readonly base: FileReference | undefined;
  readonly attributes: readonly Attribute[];
}

export function fileReference(bytes: Buffer, at: number): FileReference {
  return { record: bytes.readUIntLE(at, 6), sequence: bytes.readUInt16LE(at + 6) };
}

/** Reads a record as it is stored. EIO: it is damaged. Its attributes lie in `room`, where that is given. */
export function parseMftRecord(stored: Buffer, number: number, room?: Buffer): MftRecord {
  const bytes = unprotected(stored, magic, () => `MFT record ${number}`, room);
  if (!bytes) throw new StillError('EIO', `MFT record ${number} is damaged: it is no file record`);
  const flags = bytes.readUInt16LE(22);
  const used = bytes.readUInt32LE(24);
  const attributes = bytes.readUInt16LE(20);
  const inUse = (flags & flagOf.inUse) !== 0;
  if (inUse && (used > bytes.length || attributes < headerBytes || attributes > used))
    throw new StillError(
      'EIO',
      `MFT record ${number} is damaged: its attributes lie at ${attributes} of ${used} bytes`,
    );
  const base = fileReference(bytes, 32);
  return {
    number,
    sequence: bytes.readUInt16LE(16),
    inUse,
    directory: (flags & flagOf.directory) !== 0,
    base: base.record === 0 && base.sequence === 0 ? undefined : base,
    attributes: inUse ? parseAttributes(bytes, attributes, used, number) : [],
  };
}

/** How often a stored record has been used, without reading all of it; undefined where it is not in use. */
export function sequenceInUse(stored: Buffer): number | undefined {
  if (stored.readUInt32LE(0) !== magic || (stored.readUInt16LE(22) & flagOf.inUse) === 0) return undefined;
  return stored.readUInt16LE(16);
}
/** How much of a record that needs. */
export const sequenceBytes = 24;

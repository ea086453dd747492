import type { Name } from '../../name.js';
import type { FileType, Inode } from '../../tree/attributes.js';

/** An entry of a folder, as all forms of folders hold it. */
export interface StoredEntry {
  readonly name: Name;
  readonly inode: Inode;
  /** Undefined where the file system does not tell types, or has one that Linux has no other name for. */
  readonly type: FileType | undefined;
}

/** XFS_DIR3_FT_* of linux/fs/xfs/libxfs/xfs_da_format.h */
const types: ReadonlyArray<FileType | undefined> = [
  undefined,
  'file',
  'directory',
  'character',
  'block',
  'fifo',
  'socket',
  'symlink',
];

export function typeOf(stored: number): FileType | undefined {
  return types[stored];
}

export function nameAt(bytes: Buffer, from: number, length: number): Name {
  return bytes.toString('latin1', from, from + length) as Name;
}

export function isDots(name: Name): boolean {
  return name === '.' || name === '..';
}

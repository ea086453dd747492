import { StillError } from '../../errors.js';
import type { FileSystemKind } from '../file-system.js';

// linux fs/ext4/ext4.h: EXT4_FEATURE_COMPAT_*, _INCOMPAT_*, _RO_COMPAT_*; the names are those of mke2fs(8)
const incompatibleNames: ReadonlyMap<number, string> = new Map([
  [0x1, 'compression'],
  [0x2, 'filetype'],
  [0x4, 'needs_recovery'],
  [0x8, 'journal_dev'],
  [0x10, 'meta_bg'],
  [0x40, 'extent'],
  [0x80, '64bit'],
  [0x100, 'mmp'],
  [0x200, 'flex_bg'],
  [0x400, 'ea_inode'],
  [0x1000, 'dirdata'],
  [0x2000, 'metadata_csum_seed'],
  [0x4000, 'large_dir'],
  [0x8000, 'inline_data'],
  [0x10000, 'encrypt'],
  [0x20000, 'casefold'],
]);
const unread = new Set(['compression', 'journal_dev', 'dirdata']);

/** What ext2 and ext3 know of, by blkid(8). */
const incompatibleOfExt2 = 0x2 | 0x10;
const incompatibleOfExt3 = incompatibleOfExt2 | 0x4;
const readOnlyCompatibleOfExt3 = 0x1 | 0x2 | 0x4;

/** The features that make a difference to a reader. */
export interface Features {
  readonly compatible: number;
  readonly incompatible: number;
  readonly readOnlyCompatible: number;
  readonly journal: boolean;
  readonly needsRecovery: boolean;
  readonly fastCommits: boolean;
  readonly directoryIndex: boolean;
  readonly fileTypes: boolean;
  readonly largeDirectories: boolean;
  readonly metaGroups: boolean;
  readonly is64bit: boolean;
  readonly bigalloc: boolean;
  readonly hugeFiles: boolean;
  readonly sparseSuper: boolean;
  readonly sparseSuper2: boolean;
  readonly groupChecksums: boolean;
  readonly metadataChecksums: boolean;
  readonly checksumSeed: boolean;
  readonly extendedAttributeInodes: boolean;
  readonly orphanFile: boolean;
}

/** The features that a superblock tells of; those of the first revision have none. */
export function featuresOf(superblock: Buffer, isDynamic: boolean): Features {
  const [compatible, incompatible, readOnlyCompatible] = isDynamic
    ? [superblock.readUInt32LE(0x5c), superblock.readUInt32LE(0x60), superblock.readUInt32LE(0x64)]
    : [0, 0, 0];
  const has = (set: number, bit: number): boolean => (set & bit) !== 0;
  return {
    compatible,
    incompatible,
    readOnlyCompatible,
    journal: has(compatible, 0x4),
    fastCommits: has(compatible, 0x400),
    directoryIndex: has(compatible, 0x20),
    sparseSuper2: has(compatible, 0x200),
    needsRecovery: has(incompatible, 0x4),
    fileTypes: has(incompatible, 0x2),
    metaGroups: has(incompatible, 0x10),
    is64bit: has(incompatible, 0x80),
    extendedAttributeInodes: has(incompatible, 0x400),
    checksumSeed: has(incompatible, 0x2000),
    largeDirectories: has(incompatible, 0x4000),
    sparseSuper: has(readOnlyCompatible, 0x1),
    hugeFiles: has(readOnlyCompatible, 0x8),
    groupChecksums: has(readOnlyCompatible, 0x10),
    bigalloc: has(readOnlyCompatible, 0x200),
    metadataChecksums: has(readOnlyCompatible, 0x400),
    orphanFile: has(readOnlyCompatible, 0x10000),
  };
}

/** EOPNOTSUPP, with their names, where there are features that change what is stored in a way that is not known here. */
export function mustBeReadable({ incompatible }: Features): void {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    if ((incompatible & (1 << bit)) === 0) continue;
    const name = incompatibleNames.get((1 << bit) >>> 0);
    if (name === undefined || unread.has(name)) names.push(name ?? `I${bit}`);
  }
  if (names.includes('journal_dev'))
    throw new StillError(
      'EOPNOTSUPP',
      'the journal of an ext file system on another disk: it holds no files',
    );
  if (names.length > 0)
    throw new StillError(
      'EOPNOTSUPP',
      `the ext file system has features that are not read: ${names.join(', ')}`,
    );
}

/** As blkid(8) tells them apart. */
export function kindOf({ journal, incompatible, readOnlyCompatible }: Features): FileSystemKind {
  const isOlder = (known: number): boolean =>
    (incompatible & ~known) === 0 && (readOnlyCompatible & ~readOnlyCompatibleOfExt3) === 0;
  if (journal) return isOlder(incompatibleOfExt3) ? 'ext3' : 'ext4';
  return isOlder(incompatibleOfExt2) ? 'ext2' : 'ext4';
}

import { StillError } from '../../errors.js';
import { type Name, nameFromBytes } from '../../name.js';
import { featureNames, readExtensions } from './header-extensions.js';

// The layout is QEMU's docs/interop/qcow2.txt (section "Header"); all numbers are big-endian. The limits are those of
// its block/qcow2.c, so that what QEMU opens is opened here.
const magic = 0x514649fb; // "QFI\xfb"
const headerBytes = { 2: 72, 3: 104 } as const;
const clusterBits = { least: 9, most: 21, leastExtended: 14 } as const;
const largest = {
  l1Bytes: 32 << 20,
  refcountTableBytes: 8 << 20,
  snapshots: 65536,
  backingName: 1023,
} as const;
const incompatible = { dirty: 0, corrupt: 1, externalData: 2, compression: 3, extendedL2: 4 } as const;

/** What has to be read of a file before anything else is known of it. */
export const fixedHeaderBytes = 112;

/** Where the parts of an image lie, checked. Offsets and sizes in bytes. */
export interface Qcow2Header {
  readonly version: 2 | 3;
  /** The size of the virtual disk. */
  readonly size: number;
  readonly clusterSize: number;
  /** Each L2 entry has 16 bytes and speaks of 32 subclusters. */
  readonly extendedL2: boolean;
  readonly compression: 'deflate' | 'zstd';
  readonly l1Offset: number;
  /** How many entries the L1 table has; enough for the disk. */
  readonly l1Entries: number;
  readonly backing: BackingReference | undefined;
}

/** What an image says of the image that it is based on. */
export interface BackingReference {
  readonly name: Name;
  /** Undefined where the image does not say. */
  readonly format: string | undefined;
}

/** How many bytes from the file's start the whole header takes up, extensions and backing file's name included. */
export function headerEnd(fixed: Buffer, path: string, fileSize: number): number {
  const fields = readFields(fixed, path);
  const end =
    fields.backingOffset > 0n
      ? fields.backingOffset + BigInt(fields.backingLength)
      : BigInt(fields.clusterSize);
  return Math.min(Math.max(Math.min(Number(end), fields.clusterSize), fixedHeaderBytes), fileSize);
}

/**
 * Reads a header. `bytes` are the file's first, up to `headerEnd`. Errors: EIO for what is damaged or no qcow2,
 * EOPNOTSUPP for what is not read here, EFBIG for a disk of more than 2^53 bytes.
 */
export function parseHeader(bytes: Buffer, path: string, fileSize: number): Qcow2Header {
  const fields = readFields(bytes, path);
  const { clusterSize, version } = fields;
  const damaged = (what: string): StillError => new StillError('EIO', `${path} is damaged: ${what}`);

  if (fields.encryption !== 0) {
    const method = { 1: 'AES', 2: 'LUKS' }[fields.encryption] ?? `method ${fields.encryption}`;
    throw new StillError(
      'EOPNOTSUPP',
      `${path} is encrypted (${method}), which is not read; decrypt it with qemu-img convert`,
    );
  }
  if (fields.backingOffset > BigInt(clusterSize))
    throw damaged('its backing file name lies outside of the header');
  const extensionsEnd = fields.backingOffset > 0n ? Number(fields.backingOffset) : clusterSize;
  const extensions = readExtensions(
    bytes,
    fields.headerLength,
    Math.min(extensionsEnd, bytes.length),
    damaged,
  );
  refuseFeatures(fields.features, featureNames(extensions.featureTable, 'incompatible'), path);

  const extendedL2 = hasBit(fields.features, incompatible.extendedL2);
  if (extendedL2 && clusterSize < 1 << clusterBits.leastExtended)
    throw damaged(`extended L2 entries need clusters of 16 KiB, it has ${clusterSize} bytes`);
  if (hasBit(fields.features, incompatible.compression) !== (fields.compressionType !== 0))
    throw damaged('its compression type and its feature bit for it contradict each other');
  if (fields.compressionType > 1)
    throw new StillError('EOPNOTSUPP', `${path} is compressed by the unknown type ${fields.compressionType}`);

  const size = withinNumbers(fields.size);
  if (size === undefined)
    throw new StillError('EFBIG', `${path} is a disk of ${fields.size} bytes; 2^53 is the most that is read`);
  const l1Offset = withinNumbers(fields.l1Offset);
  const l1Bytes = fields.l1Entries * 8;
  if (l1Bytes > largest.l1Bytes)
    throw damaged(`its L1 table has ${fields.l1Entries} entries, more than 32 MiB hold`);
  const entryBytes = extendedL2 ? 16 : 8;
  const needed = Math.ceil(size / clusterSize / (clusterSize / entryBytes));
  if (fields.l1Entries < needed)
    throw damaged(`its L1 table has ${fields.l1Entries} entries, a disk of ${size} bytes needs ${needed}`);
  if (l1Offset === undefined || l1Offset % clusterSize !== 0)
    throw damaged(`its L1 table lies at ${fields.l1Offset}, not at a cluster`);
  if (l1Bytes > 0 && (l1Offset < clusterSize || l1Offset + l1Bytes > fileSize))
    throw damaged(
      `its L1 table (${l1Bytes} bytes at ${l1Offset}) lies outside of the file's ${fileSize} bytes`,
    );
  checkRefcounts(fields, fileSize, damaged);
  checkSnapshots(fields, damaged);

  return {
    version,
    size,
    clusterSize,
    extendedL2,
    compression: fields.compressionType === 1 ? 'zstd' : 'deflate',
    l1Offset,
    l1Entries: fields.l1Entries,
    backing: backingReference(bytes, fields, extensions.backingFormat, damaged),
  };
}

type Fields = ReturnType<typeof readFields>;

/** The numbers of the header, of which only those are checked that say how to read the rest. */
function readFields(bytes: Buffer, path: string) {
  const damaged = (what: string): StillError => new StillError('EIO', `${path} is damaged: ${what}`);
  if (bytes.length < headerBytes[2])
    throw damaged(`it has ${bytes.length} bytes, too few for a qcow2 header`);
  if (bytes.readUInt32BE(0) !== magic)
    throw new StillError('EIO', `${path} is no qcow2 image: it does not begin with the bytes "QFI\\xfb"`);
  const version = bytes.readUInt32BE(4);
  if (version !== 2 && version !== 3)
    throw new StillError('EOPNOTSUPP', `${path} is of qcow version ${version}; only 2 and 3 are read`);
  if (bytes.length < headerBytes[version])
    throw damaged(`it has ${bytes.length} bytes, too few for a qcow2 header`);
  const bits = bytes.readUInt32BE(20);
  if (bits < clusterBits.least || bits > clusterBits.most)
    throw damaged(`clusters of 2^${bits} bytes are not allowed`);
  const clusterSize = 2 ** bits;
  const headerLength = version === 2 ? headerBytes[2] : bytes.readUInt32BE(100);
  if (headerLength < headerBytes[version] || headerLength > clusterSize || headerLength % 8 !== 0)
    throw damaged(`a header of ${headerLength} bytes is not allowed`);
  const hasType = headerLength > headerBytes[3];
  if (hasType && bytes.length < fixedHeaderBytes) throw damaged(`the file ends within the header`);
  return {
    version,
    backingOffset: bytes.readBigUInt64BE(8),
    backingLength: bytes.readUInt32BE(16),
    clusterSize,
    size: bytes.readBigUInt64BE(24),
    encryption: bytes.readUInt32BE(32),
    l1Entries: bytes.readUInt32BE(36),
    l1Offset: bytes.readBigUInt64BE(40),
    refcountOffset: bytes.readBigUInt64BE(48),
    refcountClusters: bytes.readUInt32BE(56),
    snapshots: bytes.readUInt32BE(60),
    snapshotsOffset: bytes.readBigUInt64BE(64),
    features: version === 2 ? 0n : bytes.readBigUInt64BE(72),
    refcountOrder: version === 2 ? 4 : bytes.readUInt32BE(96),
    headerLength,
    compressionType: hasType ? bytes.readUInt8(104) : 0,
  } as const;
}

/** The `dirty` bit is about refcounts alone, which a reader needs not. */
function refuseFeatures(features: bigint, names: ReadonlyMap<number, string>, path: string): void {
  if (hasBit(features, incompatible.corrupt))
    throw new StillError(
      'EIO',
      `${path} is marked corrupt by QEMU; look at it with qemu-img check before you trust it`,
    );
  if (hasBit(features, incompatible.externalData))
    throw new StillError(
      'EOPNOTSUPP',
      `${path} keeps its data in an external file, which is not followed; make one image of it with qemu-img convert`,
    );
  const unknown: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if (bit > incompatible.extendedL2 && hasBit(features, bit)) unknown.push(names.get(bit) ?? `bit ${bit}`);
  }
  if (unknown.length > 0)
    throw new StillError('EOPNOTSUPP', `${path} needs features that are not known: ${unknown.join(', ')}`);
}

/** Refcounts are not needed for reading, but a header that is wrong about them is wrong. */
function checkRefcounts(fields: Fields, fileSize: number, damaged: (what: string) => StillError): void {
  if (fields.refcountOrder > 6) throw damaged(`refcounts of 2^${fields.refcountOrder} bits are not allowed`);
  if (
    fields.refcountClusters === 0 ||
    fields.refcountClusters * fields.clusterSize > largest.refcountTableBytes
  )
    throw damaged(`a refcount table of ${fields.refcountClusters} clusters is not allowed`);
  const { refcountOffset, clusterSize } = fields;
  if (
    refcountOffset % BigInt(clusterSize) !== 0n ||
    refcountOffset < BigInt(clusterSize) ||
    refcountOffset >= BigInt(fileSize)
  )
    throw damaged(`its refcount table lies at ${refcountOffset}, not at a cluster of the file`);
}

function checkSnapshots(fields: Fields, damaged: (what: string) => StillError): void {
  if (fields.snapshots > largest.snapshots) throw damaged(`it says it has ${fields.snapshots} snapshots`);
  if (fields.snapshots > 0 && fields.snapshotsOffset % BigInt(fields.clusterSize) !== 0n)
    throw damaged(`its snapshot table lies at ${fields.snapshotsOffset}, not at a cluster`);
}

function backingReference(
  bytes: Buffer,
  fields: Fields,
  format: string | undefined,
  damaged: (what: string) => StillError,
): BackingReference | undefined {
  if (fields.backingOffset === 0n || fields.backingLength === 0) return undefined;
  const offset = Number(fields.backingOffset);
  const end = offset + fields.backingLength;
  if (fields.backingLength > largest.backingName)
    throw damaged(`its backing file name has ${fields.backingLength} bytes; 1023 is the most`);
  if (offset < fields.headerLength || end > fields.clusterSize || end > bytes.length)
    throw damaged('its backing file name lies outside of the header');
  return { name: nameFromBytes(bytes.subarray(offset, end)), format };
}

function hasBit(bits: bigint, bit: number): boolean {
  return (bits >> BigInt(bit)) % 2n === 1n;
}

function withinNumbers(value: bigint): number | undefined {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined;
}

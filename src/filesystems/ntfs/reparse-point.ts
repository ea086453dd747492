import { StillError } from '../../errors.js';

/** Tags of reparse points, [MS-FSCC] section 2.1.2.1. */
const tags = {
  mountPoint: 0xa000_0003,
  symlink: 0xa000_000c,
  wslSymlink: 0xa000_001d,
  unixSocket: 0x8000_0023,
  wslFifo: 0x8000_0024,
  wslCharacter: 0x8000_0025,
  wslBlock: 0x8000_0026,
  systemCompressed: 0x8000_0017,
  deduplicated: 0x8000_0013,
  singleInstance: 0x8000_0007,
  hierarchicalStorage: 0xc000_0004,
  hierarchicalStorage2: 0x8000_0006,
} as const;
/** OneDrive and its like have sixteen of their own. */
const cloud = { tag: 0x9000_001a, ofAll: 0xffff_0fff } as const;
const headerBytes = 8;
const relative = 1;
const wslLinkVersion = 2;
const fileProvider = 2;
const lzx = 1;
/** By the numbers of the algorithms XPRESS4K, 8K and 16K. */
const xpressChunks = new Map([
  [0, 4096],
  [2, 8192],
  [3, 16384],
]);
export const mostReparseBytes = 16 * 1024;

/** What a reparse point makes of a file. */
export type ReparsePoint =
  /** `relative`: to the folder that the link is in. The target is as Windows has it. */
  | { readonly kind: 'symlink'; readonly target: string; readonly relative: boolean }
  /** A link that the Windows subsystem for Linux made: its target is the bytes of a path. */
  | { readonly kind: 'unix symlink'; readonly target: Buffer }
  | { readonly kind: 'socket' | 'fifo' | 'character' | 'block' }
  /** Windows itself compressed the file, in chunks: ./system-compression.ts. */
  | { readonly kind: 'system compressed'; readonly chunkBytes: number }
  /** What the file has is elsewhere, or packed; `how` ends "its data are ". */
  | { readonly kind: 'elsewhere'; readonly how: string }
  /** The data are there unless the file says that they are not. */
  | { readonly kind: 'cloud' }
  /** Something that only Windows programs know; the data are what they are. */
  | { readonly kind: 'other' };

const elsewhere = new Map<number, string>([
  [tags.deduplicated, 'deduplicated: they lie in the chunk store of the volume, which is not read'],
  [tags.singleInstance, 'in the single instance store, which is not read'],
  [tags.hierarchicalStorage, 'in remote storage'],
  [tags.hierarchicalStorage2, 'in remote storage'],
]);
const special = new Map([
  [tags.unixSocket, 'socket'],
  [tags.wslFifo, 'fifo'],
  [tags.wslCharacter, 'character'],
  [tags.wslBlock, 'block'],
] as const);

/** Reads the value of a reparse point. EIO: it is damaged. */
export function parseReparsePoint(value: Buffer, owner: number): ReparsePoint {
  const length = value.length >= headerBytes ? value.readUInt16LE(4) : 0;
  if (value.length < headerBytes || length > value.length - headerBytes)
    throw damaged(owner, `it has ${length} of ${value.length} bytes`);
  const tag = value.readUInt32LE(0);
  const data = value.subarray(headerBytes, headerBytes + length);
  if (tag === tags.mountPoint) return windowsLink(data, headerBytes, false, owner);
  if (tag === tags.symlink) {
    const flags = data.length >= 12 ? data.readUInt32LE(8) : 0;
    return windowsLink(data, 12, (flags & relative) !== 0, owner);
  }
  if (tag === tags.wslSymlink) {
    if (data.length <= 4 || data.readUInt32LE(0) !== wslLinkVersion)
      throw damaged(owner, 'it is a link of an unknown version');
    return { kind: 'unix symlink', target: Buffer.from(data.subarray(4)) };
  }
  if (tag === tags.systemCompressed) return systemCompressed(data, owner);
  for (const [each, kind] of special) if (tag === each) return { kind };
  const how = elsewhere.get(tag);
  if (how !== undefined) return { kind: 'elsewhere', how };
  return { kind: (tag & cloud.ofAll) >>> 0 === cloud.tag ? 'cloud' : 'other' };
}

/** WOF_EXTERNAL_INFO and FILE_PROVIDER_EXTERNAL_INFO_V1, of the Windows overlay filter. */
function systemCompressed(data: Buffer, owner: number): ReparsePoint {
  if (data.length < 16) throw damaged(owner, `it tells of a compressed file in ${data.length} bytes`);
  if (data.readUInt32LE(4) !== fileProvider)
    return { kind: 'elsewhere', how: 'in a Windows image file (WIM)' };
  const algorithm = data.readUInt32LE(12);
  const chunkBytes = xpressChunks.get(algorithm);
  if (chunkBytes !== undefined) return { kind: 'system compressed', chunkBytes };
  const name = algorithm === lzx ? 'as LZX' : `in the unknown way ${algorithm}`;
  return { kind: 'elsewhere', how: `compressed by Windows ${name}, which is not read` };
}

/** REPARSE_DATA_BUFFER: offset and length of the target, the same of what is shown to people, then both. */
function windowsLink(data: Buffer, paths: number, isRelative: boolean, owner: number): ReparsePoint {
  if (data.length < paths) throw damaged(owner, `a link of ${data.length} bytes`);
  const from = paths + data.readUInt16LE(0);
  const length = data.readUInt16LE(2);
  if (length === 0 || length % 2 !== 0 || from + length > data.length)
    throw damaged(owner, `the target of a link has ${length} bytes at ${from}`);
  const target = data.toString('utf16le', from, from + length);
  return { kind: 'symlink', target: target.replace(/\0+$/, ''), relative: isRelative };
}

function damaged(owner: number, how: string): StillError {
  return new StillError('EIO', `the reparse point of MFT record ${owner} is damaged: ${how}`);
}

import { createContext, Script } from 'node:vm';
import { Decompress } from 'fzstd';
import { StillError } from '../../errors.js';

// The frame format is RFC 8878, section 3.1.
const frameMagic = 0xfd2fb528;
const blockHeaderBytes = 3;
const largestBlock = 131072;
const blockKinds = { raw: 0, repeated: 1, compressed: 2 } as const;

/**
 * A cluster out of zstd frames, as QEMU writes them; what follows the frames that fill it is no part of it.
 *
 * fzstd is no decoder for hostile data: it allocates what a header asks for, does not tell when less comes out than the
 * header promises, and a frame of 19 bytes keeps it busy for seconds, one of 64 KiB for hours. So each frame is walked
 * first, given to it with a header of ours that promises nothing, and under a time limit.
 */
export function unpackZstdCluster(packed: Uint8Array, clusterSize: number): Uint8Array {
  const cluster = new Uint8Array(clusterSize);
  const input = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  let filled = 0;
  for (let at = 0; filled < clusterSize; ) {
    const { blocksAt, blocksEnd, end } = walkFrame(input, at, clusterSize);
    const frame = plainFrame(input.subarray(blocksAt, blocksEnd), clusterSize);
    const bytes = decompressWithin(frame, clusterSize - filled);
    if (bytes.length === 0) throw damaged('a frame without content');
    cluster.set(bytes, filled);
    filled += bytes.length;
    at = end;
  }
  return cluster;
}

/** Finds where a frame's blocks begin and end, and bounds what they can claim. */
function walkFrame(input: Buffer, start: number, clusterSize: number) {
  if (input.length < start + 6 || input.readUInt32LE(start) !== frameMagic) throw damaged('no zstd frame');
  const descriptor = input.readUInt8(start + 4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSizeCode = descriptor >> 6;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  if ((descriptor & 0x08) !== 0 || dictionaryBytes !== 0)
    throw damaged('a zstd frame that needs a dictionary');
  const contentSizeBytes = contentSizeCode === 0 ? (singleSegment ? 1 : 0) : 2 ** contentSizeCode;
  const blocksAt = start + 5 + (singleSegment ? 0 : 1) + contentSizeBytes;

  // An encoder makes blocks of 128 KiB, or splits them where it pays; one of few bytes each is made to cost time.
  let blocksLeft = 16 + clusterSize / 512;
  let known = 0;
  for (let at = blocksAt; ; ) {
    if (at + blockHeaderBytes > input.length) throw damaged('a zstd frame without its end');
    const header = input.readUIntLE(at, blockHeaderBytes);
    const kind = (header >> 1) & 3;
    const size = header >> 3;
    if (size > Math.min(largestBlock, Math.max(clusterSize, 1024)) || blocksLeft-- === 0)
      throw damaged('zstd blocks that are too large or too many');
    if (kind !== blockKinds.compressed) known += size;
    if (known > clusterSize) throw damaged('more than a cluster comes out');
    at += blockHeaderBytes + (kind === blockKinds.repeated ? 1 : size);
    if (at > input.length) throw damaged('a zstd block without its end');
    if ((header & 1) !== 0) return { blocksAt, blocksEnd: at, end: at + ((descriptor & 0x04) !== 0 ? 4 : 0) };
  }
}

/**
 * A frame that promises no size, so that what comes out is what is there. Its window is two clusters: fzstd cuts a block
 * at the window without a word, and a block of more than a cluster is to be seen.
 */
function plainFrame(blocks: Uint8Array, clusterSize: number): Uint8Array {
  const frame = Buffer.alloc(6 + blocks.length);
  frame.writeUInt32LE(frameMagic, 0);
  frame.writeUInt8((Math.log2(clusterSize * 2) - 10) << 3, 5);
  frame.set(blocks, 6);
  return frame;
}

const mostMilliseconds = 500;
const sandbox = { decompress: (): void => undefined };
const context = createContext(sandbox);
const decompressing = new Script('decompress()');

/** What a frame holds, at most `most` bytes. Node can end a computation that takes too long only in a context of its own. */
function decompressWithin(frame: Uint8Array, most: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  let total = 0;
  const decoder = new Decompress((block) => {
    total += block.length;
    if (total > most) throw damaged('more than a cluster comes out');
    blocks.push(block);
  });
  sandbox.decompress = (): void => decoder.push(frame, true);
  try {
    decompressing.runInContext(context, { timeout: mostMilliseconds });
  } finally {
    sandbox.decompress = (): void => undefined;
  }
  return Buffer.concat(blocks);
}

function damaged(what: string): StillError {
  return new StillError('EIO', what);
}

import { ZSTDDecoder } from 'zstddec';
import { StillError } from '../../errors.js';

// The frame format is RFC 8878, section 3.1.
const frameMagic = 0xfd2fb528;
const blockHeaderBytes = 3;
const largestBlock = 131072;
const repeatedBlock = 1;

/** The reference decoder, as WebAssembly: what it gets can't reach beyond its own memory. */
const decoder = new ZSTDDecoder();

/**
 * A cluster out of zstd frames, as QEMU writes them; what follows the frames that fill it is no part of it. The decoder
 * takes no bytes after a frame and tells an error only by giving nothing, so each frame is walked first to find its end.
 */
export async function unpackZstdCluster(packed: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  await decoder.init();
  const input = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  const first = decodeFrame(input, 0, clusterSize);
  if (first.bytes.length === clusterSize) return first.bytes;
  const cluster = new Uint8Array(clusterSize);
  cluster.set(first.bytes);
  for (let at = first.end, filled = first.bytes.length; filled < clusterSize; ) {
    const { bytes, end } = decodeFrame(input, at, clusterSize - filled);
    cluster.set(bytes, filled);
    filled += bytes.length;
    at = end;
  }
  return cluster;
}

/** What a single zstd frame holds, `most` bytes at most. EIO: it is damaged, empty, or holds more. */
export async function unpackZstdFrame(packed: Uint8Array, most: number): Promise<Uint8Array> {
  await decoder.init();
  return decodeFrame(Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength), 0, most).bytes;
}

/** What the frame at `start` holds: some bytes, `most` of them at most. */
function decodeFrame(input: Buffer, start: number, most: number): { bytes: Uint8Array; end: number } {
  const end = frameEnd(input, start, most);
  const bytes = decoder.decode(input.subarray(start, end), most);
  if (bytes.length === 0)
    throw damaged('a zstd frame that is damaged, without content, or larger than it may be');
  return { bytes, end };
}

/** Where a frame ends whose content is `most` bytes at most. */
function frameEnd(input: Buffer, start: number, most: number): number {
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
  let blocksLeft = 16 + most / 512;
  for (let at = blocksAt; ; ) {
    if (at + blockHeaderBytes > input.length) throw damaged('a zstd frame without its end');
    const header = input.readUIntLE(at, blockHeaderBytes);
    const kind = (header >> 1) & 3;
    const size = header >> 3;
    if (size > largestBlock || blocksLeft-- <= 0) throw damaged('zstd blocks that are too large or too many');
    at += blockHeaderBytes + (kind === repeatedBlock ? 1 : size);
    if (at > input.length) throw damaged('a zstd block without its end');
    if ((header & 1) !== 0) return at + ((descriptor & 0x04) !== 0 ? 4 : 0);
  }
}

function damaged(what: string): StillError {
  return new StillError('EIO', what);
}

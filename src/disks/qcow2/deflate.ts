import { constants, inflateRaw, inflateRawSync, type ZlibOptions } from 'node:zlib';
import { StillError } from '../../errors.js';

/** Up to this size a cluster is inflated in this thread: 0.2 ms at most, where handing it over costs as much again. */
const largestAtOnce = 65536;

/** A cluster out of a raw deflate stream (RFC 1951), as QEMU writes it. What follows the stream is no part of it. */
export async function inflateCluster(packed: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  const options: ZlibOptions & { maxOutputLength: number } = {
    maxOutputLength: clusterSize,
    // A little room is left over: zlib takes a full chunk as a sign that more may come.
    chunkSize: clusterSize + 64,
    // A stream without its end mark is good, if it gives a whole cluster: so QEMU takes it.
    finishFlush: constants.Z_SYNC_FLUSH,
  };
  const bytes =
    clusterSize <= largestAtOnce ? inflateRawSync(packed, options) : await inflateInPool(packed, options);
  if (bytes.length !== clusterSize)
    throw new StillError('EIO', `${bytes.length} bytes came out, a cluster has ${clusterSize}`);
  return bytes;
}

function inflateInPool(packed: Uint8Array, options: ZlibOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    inflateRaw(packed, options, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
}

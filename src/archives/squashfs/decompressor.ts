import { inflate, inflateSync } from 'node:zlib';
import { unpackZstdFrame } from '../../disks/qcow2/zstd.js';
import { StillError } from '../../errors.js';
import { rest, spend, timed } from '../../pace.js';
import { unpackLz4 } from './lz4.js';
import { unpackLzo } from './lzo.js';
import type { Compressor } from './superblock.js';
import { unpackXz } from './xz.js';

/** Packed data of so many bytes is worth the way to another thread and back. */
const worthAThread = 16384;

/**
 * Unpacks a compressed block into `most` bytes at most. None keeps the event loop for longer than one block of
 * 1 MiB takes (a few milliseconds). EIO: the block is damaged or holds more.
 */
export type Decompress = (packed: Uint8Array, most: number) => Promise<Uint8Array>;

const decompressors: Readonly<Record<Compressor, Decompress>> = {
  gzip: unpackZlib,
  xz: unpackXz,
  lz4: paced(unpackLz4),
  lzo: paced(unpackLzo),
  async zstd(packed, most) {
    await rest();
    const begun = performance.now();
    const unpacked = await unpackZstdFrame(packed, most);
    spend(performance.now() - begun);
    return unpacked;
  },
};

export function decompressorOf(compressor: Compressor): Decompress {
  return decompressors[compressor];
}

function paced(unpack: (packed: Uint8Array, most: number) => Uint8Array): Decompress {
  return async (packed, most) => {
    await rest();
    return timed(() => unpack(packed, most));
  };
}

async function unpackZlib(packed: Uint8Array, most: number): Promise<Uint8Array> {
  // One byte of room more than needed spares a second round that only finds the end.
  const options = { maxOutputLength: most, chunkSize: most + 64 };
  if (packed.length < worthAThread) {
    await rest();
    try {
      return timed(() => inflateSync(packed, options));
    } catch (error) {
      throw damagedZlib(error);
    }
  }
  return new Promise((resolve, reject) => {
    inflate(packed, options, (error, unpacked) => (error ? reject(damagedZlib(error)) : resolve(unpacked)));
  });
}

function damagedZlib(cause: unknown): StillError {
  return new StillError('EIO', 'a zlib block is damaged', { cause });
}

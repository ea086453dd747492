import { setImmediate as nextTurn } from 'node:timers/promises';
import { StillError } from '../../errors.js';
import { QueueDepth } from '../../queue-depth.js';
import { SharedWait } from '../../shared-wait.js';
import type { ImageFile } from '../image-file.js';
import { inflateCluster } from './deflate.js';
import { SharedCache } from './shared-cache.js';
import { unpackZstdCluster } from './zstd.js';

/** Decompressed clusters of all open images together: eight of the largest. */
const clusters = new SharedCache<Uint8Array>(16 << 20);

/** How many clusters are decompressed at a time, in all images: what they take up is not yet counted in the cache. */
const decompressions = new QueueDepth(4);

/** The compressed clusters of one image. */
export class CompressedClusters {
  readonly #kept = clusters.section();
  readonly #underWay = new Map<string, SharedWait<Uint8Array>>();

  constructor(
    private readonly file: ImageFile,
    private readonly clusterSize: number,
    private readonly compression: 'deflate' | 'zstd',
  ) {}

  /** The bytes of a cluster, if they are at hand. Not to be changed. */
  now(hostOffset: number, hostLength: number): Uint8Array | undefined {
    return this.#kept.get(`${hostOffset}+${hostLength}`);
  }

  /** The same, however long it takes. EIO: they can't be had. */
  async get(hostOffset: number, hostLength: number, signal?: AbortSignal): Promise<Uint8Array> {
    const key = `${hostOffset}+${hostLength}`;
    const kept = this.#kept.get(key);
    if (kept) return kept;
    let work = this.#underWay.get(key);
    if (!work || work.abandoned) {
      const begun: SharedWait<Uint8Array> = new SharedWait(async (abort) => {
        try {
          return await this.#decompress(hostOffset, hostLength, abort);
        } finally {
          if (this.#underWay.get(key) === begun) this.#underWay.delete(key);
        }
      });
      work = begun;
      this.#underWay.set(key, begun);
    }
    return work.wait(signal);
  }

  clear(): void {
    this.#kept.clear();
  }

  #decompress(hostOffset: number, hostLength: number, signal: AbortSignal): Promise<Uint8Array> {
    return decompressions.run(async () => {
      // One cluster a turn: other requests get theirs in between.
      await nextTurn();
      signal.throwIfAborted();
      const packed = Buffer.allocUnsafe(hostLength);
      const count = await this.file.read(hostOffset, packed, signal);
      const bytes = await this.#unpack(packed.subarray(0, count), hostOffset);
      this.#kept.set(`${hostOffset}+${hostLength}`, bytes);
      return bytes;
    }, signal);
  }

  async #unpack(packed: Uint8Array, hostOffset: number): Promise<Uint8Array> {
    try {
      return this.compression === 'zstd'
        ? await unpackZstdCluster(packed, this.clusterSize)
        : await inflateCluster(packed, this.clusterSize);
    } catch (error) {
      throw new StillError(
        'EIO',
        `${this.file.path} is damaged: the compressed cluster at ${hostOffset} of the file can't be decompressed`,
        { cause: error },
      );
    }
  }
}

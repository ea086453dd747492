import { LRUCache } from 'lru-cache';
import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import { rest, spend, timed } from '../../pace.js';
import type { FileContent, FilePiece } from '../file-system.js';
import type { ValueSizes } from './attribute.js';
import type { ClusterMap } from './cluster-map.js';
import { unpackLznt1 } from './lznt1.js';
import { hole, runOf } from './runs.js';

/** Windows makes units of 64 KiB. */
const largestUnit = 1 << 20;
const mostUnpackedBytes = 8 << 20;
/** So many units of one read are unpacked at a time. */
const atOnce = 4;
/** About what looking at a unit costs, in milliseconds. */
const perUnit = 0.002;

/** Units that were unpacked, of all files of a volume: small reads go on where the last one ended. */
export class UnpackedUnits extends LRUCache<string, Buffer> {
  constructor() {
    super({ maxSize: mostUnpackedBytes, sizeCalculation: ({ length }) => length });
  }
}

/** Where a run of clusters lies, in bytes. */
interface Stretch {
  readonly place: number;
  readonly length: number;
}

/**
 * A value in compression units of so many clusters: a unit that has all of its clusters is stored as it is, one that has none is
 * zeros, one that has some is packed into them.
 */
export class CompressedContent implements FileContent {
  readonly #unitBytes: number;

  /** `name`: what stands for the value, in the cache and in errors. */
  constructor(
    private readonly disk: Disk,
    private readonly map: ClusterMap,
    private readonly sizes: ValueSizes,
    private readonly unitClusters: number,
    private readonly clusterBytes: number,
    private readonly units: UnpackedUnits,
    private readonly name: string,
  ) {
    this.#unitBytes = unitClusters * clusterBytes;
    if (this.#unitBytes > largestUnit || this.#unitBytes < 4096)
      throw new StillError('EOPNOTSUPP', `${name} is compressed in units of ${this.#unitBytes} bytes`);
  }

  async read(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    const end = offset + target.length;
    let next = offset;
    const work = async (): Promise<void> => {
      while (next < end) {
        const at = next;
        const unit = Math.floor(at / this.#unitBytes);
        next = Math.min((unit + 1) * this.#unitBytes, end);
        const part = target.subarray(at - offset, next - offset);
        await this.#readUnit(unit, at - unit * this.#unitBytes, part, signal);
      }
    };
    const units = Math.ceil(target.length / this.#unitBytes) + 1;
    await Promise.all(Array.from({ length: Math.min(atOnce, units) }, work));
    if (end > this.sizes.initialized) target.fill(0, Math.max(this.sizes.initialized - offset, 0));
  }

  async pieces(offset: number, _length: number, signal: AbortSignal): Promise<readonly FilePiece[]> {
    const { size, initialized } = this.sizes;
    if (offset >= initialized) return [{ offset, length: size - offset, hole: true }];
    // Whoever looks for the next hole of a large file asks for one unit after the other.
    spend(perUnit);
    await rest();
    const unit = Math.floor(offset / this.#unitBytes);
    const first = unit * this.unitClusters;
    const runs = await this.map.runsAt(first, signal);
    const run = runs ? runOf(runs, first) : 0;
    // A run that holds whole units makes all of them alike.
    const runEnd = runs ? (runs.starts[run + 1] ?? runs.end) : first;
    const units = Math.floor((runEnd - first) / this.unitClusters);
    const isHole =
      units > 0 ? runs?.places[run] === hole : (await this.#stretches(unit, signal)).length === 0;
    const end = (unit + Math.max(units, 1)) * this.#unitBytes;
    return [{ offset, length: end - offset, hole: isHole }];
  }

  async #readUnit(unit: number, from: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    if (unit * this.#unitBytes >= this.sizes.initialized) {
      target.fill(0);
      return;
    }
    const key = `${this.name} ${unit}`;
    const unpacked = this.units.get(key) ?? (await this.#unpack(unit, key, signal));
    target.set(unpacked.subarray(from, from + target.length));
  }

  async #unpack(unit: number, key: string, signal: AbortSignal): Promise<Buffer> {
    const stretches = await this.#stretches(unit, signal);
    const stored = stretches.reduce((sum, { length }) => sum + length, 0);
    if (stored === 0) return Buffer.alloc(this.#unitBytes);
    const packed = Buffer.allocUnsafeSlow(stored);
    let at = 0;
    for (const { place, length } of stretches) {
      await this.disk.read(place, packed.subarray(at, at + length), signal);
      at += length;
    }
    const bytes = stored === this.#unitBytes ? packed : Buffer.allocUnsafeSlow(this.#unitBytes);
    if (bytes !== packed) {
      timed(() => unpackLznt1(packed, bytes));
      await rest();
    }
    this.units.set(key, bytes);
    return bytes;
  }

  /** Where the clusters of a unit lie, without those that lie nowhere. */
  async #stretches(unit: number, signal: AbortSignal): Promise<Stretch[]> {
    const stretches: Stretch[] = [];
    const end = (unit + 1) * this.unitClusters;
    for (let cluster = unit * this.unitClusters; cluster < end; ) {
      const runs = await this.map.runsAt(cluster, signal);
      // The last unit may have fewer clusters than the others.
      if (!runs) break;
      const run = runOf(runs, cluster);
      const next = Math.min(runs.starts[run + 1] ?? runs.end, end);
      const place = runs.places[run] ?? hole;
      if (place !== hole) {
        const into = cluster - (runs.starts[run] ?? 0);
        stretches.push({
          place: (place + into) * this.clusterBytes,
          length: (next - cluster) * this.clusterBytes,
        });
      }
      cluster = next;
    }
    return stretches;
  }
}

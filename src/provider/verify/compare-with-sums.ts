import type { Disk } from '../../disks/disk.js';
import { messageOf } from '../../errors.js';
import { type BlockKind, blockKinds } from '../disks/block-kinds.js';
import type { SumsFile } from '../sums/sums-file.js';
import { blockBytes, digestBytes, digestOf, digestOfZeros, lengthOfBlock } from '../sums/sums-format.js';
import { Damage } from './damage.js';

/** How many blocks of a disk are read and summed at a time. */
const lanes = 4;
/** So many checksums are read at a time. */
const digestsAtOnce = 1024;

const differs = 'differs from its checksum';

/** The disk that another one is an increment upon, verified before it. */
export interface VerifiedParent {
  readonly sums: SumsFile;
  readonly damage: Damage;
}

export interface Comparison {
  readonly disk: Disk;
  readonly sums: SumsFile;
  /** The backup that the disk is of. */
  readonly backup: string;
  /**
   * With it, blocks that the image has from there unchanged are not read again: where both have the same checksum, what was found
   * there holds here.
   */
  readonly parent?: VerifiedParent;
  /** So many bytes are dealt with. */
  readonly progress?: (bytes: number) => void;
}

/**
 * Compares every byte of a disk (or file) with its checksums. Bytes that can't be read are damage, not an error. The disk and its
 * checksums are of one size.
 */
export async function compareWithSums(comparison: Comparison, signal: AbortSignal): Promise<Damage> {
  return new Comparing(comparison, signal).run();
}

/** What was found of a block: undefined, or what is wrong. */
type Finding = string | undefined;

class Comparing {
  readonly #damage = new Damage();
  /** Blocks under way, in their order. */
  readonly #underWay: {
    readonly block: number;
    readonly kind: BlockKind;
    readonly finding: Promise<Finding>;
  }[] = [];
  readonly #buffers: Buffer<ArrayBuffer>[] = [];

  constructor(
    private readonly what: Comparison,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<Damage> {
    const { disk } = this.what;
    try {
      for await (const kind of blockKinds(disk, blockBytes, this.signal)) {
        for (let first = kind.first; first < kind.first + kind.count; first += digestsAtOnce) {
          this.signal.throwIfAborted();
          const count = Math.min(digestsAtOnce, kind.first + kind.count - first);
          await this.#piece(kind, first, count);
        }
      }
      while (this.#underWay.length > 0) await this.#settleOne();
      return this.#damage;
    } finally {
      // Nothing is under way any more when the caller closes the disk.
      await Promise.allSettled(this.#underWay.map(({ finding }) => finding));
    }
  }

  /** Some blocks of one kind. */
  async #piece(kind: BlockKind, first: number, count: number): Promise<void> {
    const { sums, parent, disk } = this.what;
    const expected = await sums.digests(first, count);
    const parents =
      parent && kind.inherited && parent.damage.complete
        ? await parent.sums.digests(first, count)
        : undefined;
    for (let index = 0; index < count; index++) {
      const block = first + index;
      const digest = expected.subarray(index * digestBytes, (index + 1) * digestBytes);
      const length = lengthOfBlock(block, disk.size);
      const known = parents && parent && length === lengthOfBlock(block, parent.sums.sizeBytes);
      const same = known && digest.equals(parents.subarray(index * digestBytes, (index + 1) * digestBytes));
      if (same) {
        await this.#begin(kind, block, Promise.resolve(parent.damage.at(block)?.why));
      } else if (kind.zero) {
        const finding = digest.equals(await digestOfZeros(length)) ? undefined : differs;
        await this.#begin(kind, block, Promise.resolve(finding));
      } else {
        await this.#begin(kind, block, this.#read(block, length, digest));
      }
    }
  }

  async #begin(kind: BlockKind, block: number, finding: Promise<Finding>): Promise<void> {
    // Whoever is first in the row is waited for; the others' failures are seen when it is their turn.
    finding.catch(() => undefined);
    this.#underWay.push({ block, kind, finding });
    while (this.#underWay.length >= lanes) await this.#settleOne();
  }

  async #settleOne(): Promise<void> {
    const next = this.#underWay[0];
    if (!next) return;
    const why = await next.finding;
    this.#underWay.shift();
    const { disk, progress } = this.what;
    progress?.(lengthOfBlock(next.block, disk.size));
    if (why !== undefined) this.#damage.add(next.block, why, this.#originOf(next.block, next.kind));
  }

  async #read(block: number, length: number, expected: Buffer): Promise<Finding> {
    const buffer = this.#buffers.pop() ?? Buffer.allocUnsafeSlow(blockBytes);
    const bytes = buffer.subarray(0, length);
    try {
      await this.what.disk.read(block * blockBytes, bytes, this.signal);
    } catch (error) {
      this.signal.throwIfAborted();
      // Something may still be read into the buffer: it is not used again.
      return messageOf(error);
    }
    const digest = await digestOf(bytes);
    this.#buffers.push(buffer);
    return digest.equals(expected) ? undefined : differs;
  }

  /** Whose bytes are damaged: those of the parent's parents, where it has the same block damaged, or of this backup. */
  #originOf(block: number, { inherited }: BlockKind): string | undefined {
    const { parent, backup } = this.what;
    const below = parent?.damage.at(block);
    if (below) return below.from;
    return inherited && !parent ? undefined : backup;
  }
}

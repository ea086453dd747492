import type { NbdWriter } from '../../disks/nbd/nbd-writer.js';
import { blockBytes } from '../sums/sums-format.js';

/** What is written at least at a time, in bytes: a cluster of the image. So no cluster is ever filled up from its parent. */
export const clusterBytes = 65_536;

const zeros = Buffer.alloc(blockBytes);

/** An image that clusters are written to. */
export interface ClusterTarget {
  readonly image: NbdWriter;
  /** It has no parent, so that zeros need not be said. */
  readonly alone: boolean;
}

/** Writes those clusters of at most `blockBytes` from a cluster on that are wanted, neighbours at once. Says how many bytes they are. */
export async function writeClusters(
  { image, alone }: ClusterTarget,
  begin: number,
  bytes: Buffer,
  wanted: readonly boolean[],
  signal: AbortSignal,
): Promise<number> {
  let written = 0;
  const kinds = wanted.map((isWanted, index): Kind => {
    if (!isWanted) return 'none';
    const at = index * clusterBytes;
    const end = Math.min(at + clusterBytes, bytes.length);
    if (zeros.compare(bytes, at, end, 0, end - at) !== 0) return 'data';
    return alone ? 'none' : 'zeros';
  });
  const writes: Promise<void>[] = [];
  for (const { kind, from, to } of stretches(kinds)) {
    const at = from * clusterBytes;
    const end = Math.min(to * clusterBytes, bytes.length);
    if (kind === 'none') continue;
    const writing =
      kind === 'data'
        ? image.write(begin + at, bytes.subarray(at, end), undefined, signal)
        : image.writeZeroes(begin + at, end - at, undefined, signal);
    writes.push(writing);
    written += end - at;
  }
  const failed = (await Promise.allSettled(writes)).find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
  return written;
}

type Kind = 'none' | 'zeros' | 'data';

/** Neighbours of one kind together: from the first to before the last. */
function* stretches(kinds: readonly Kind[]): Generator<{ kind: Kind; from: number; to: number }> {
  for (let from = 0; from < kinds.length; ) {
    const kind = kinds[from] ?? 'none';
    let to = from + 1;
    while (kinds[to] === kind) to++;
    yield { kind, from, to };
    from = to;
  }
}

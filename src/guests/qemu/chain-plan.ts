import { bitmapName, parseBitmapName } from './bitmap-name.js';
import type { Drive } from './drives.js';
import type { DirtyBitmap } from './qmp/commands/block-nodes.js';
import { type BitmapAction, enableBitmap, mergeBitmaps, removeBitmap } from './qmp/commands/dirty-bitmaps.js';
import type { Mode, RecordedDisk } from './snapshot-record.js';
import type { ChainBase } from './state/chain-bases.js';

/** What becomes of a disk's bitmaps in a snapshot of a chain. */
export interface ChainPlan
  extends Pick<RecordedDisk, 'mode' | 'oldBitmap' | 'newBitmap' | 'persistent' | 'superseded'> {
  readonly mode: Mode;
  /** The snapshot that the map is relative to. */
  readonly base: string | null;
  /** How large the disk was then, in bytes: all beyond is dirty. */
  readonly baseSizeBytes: number | null;
  /** Why the whole disk is dirty though the chain had a bitmap. */
  readonly reason: string | null;
  /** What is to be done before: bitmaps that an interrupted snapshot has left become one again. */
  readonly first: readonly BitmapAction[];
}

/** Without a chain no bitmap is touched. */
export const noChain: ChainPlan = {
  mode: 'none',
  oldBitmap: null,
  newBitmap: null,
  persistent: false,
  superseded: [],
  base: null,
  baseSizeBytes: null,
  reason: null,
  first: [],
};

/**
 * Decides what a chain's bitmap of a disk is worth. It is used only where it is certain that every write since its base is in
 * it: else the whole disk is dirty, and the bitmaps that are there go once the snapshot has succeeded.
 */
export function planChain(drive: Drive, chain: string, id: string, known: ChainBase | undefined): ChainPlan {
  const ours = drive.bitmaps.filter(({ name }) => parseBitmapName(name)?.chain === chain);
  const usable = ours.filter(({ inconsistent }) => !inconsistent);
  const { kept, first } = united(drive.node, usable, known);
  const anew = (reason: string | null): ChainPlan => ({
    mode: 'new',
    oldBitmap: null,
    newBitmap: bitmapName({ chain, base: id }),
    persistent: drive.format === 'qcow2',
    superseded: ours.flatMap(({ name }) => name ?? []),
    base: null,
    baseSizeBytes: null,
    reason,
    first: [],
  });
  if (ours.length === 0) return anew(known ? 'the bitmap is lost' : null);
  if (!kept) return anew('the bitmap is not whole: QEMU ended while it was in use, or it stood still');
  const base = parseBitmapName(kept.name)?.base ?? null;
  if (known?.id !== base) return anew('the bitmap is not of the last successful snapshot of the chain');
  if (drive.sizeBytes < known.sizeBytes) return anew('the disk is smaller than it was');
  return {
    mode: 'reuse',
    oldBitmap: kept.name ?? null,
    newBitmap: bitmapName({ chain, base: id }),
    persistent: kept.persistent,
    superseded: ours.flatMap(({ name, inconsistent }) => (inconsistent && name !== undefined ? [name] : [])),
    base,
    baseSizeBytes: known.sizeBytes,
    reason: null,
    first,
  };
}

/**
 * The one bitmap that tells all since its base. Two of them are what an interrupted snapshot leaves: the older stood still
 * while the newer recorded, so they belong together, unless the newer is known to be a base itself.
 */
function united(
  node: string,
  bitmaps: readonly DirtyBitmap[],
  known: ChainBase | undefined,
): { kept: DirtyBitmap | undefined; first: BitmapAction[] } {
  const recording = bitmaps.filter((bitmap) => bitmap.recording);
  const still = bitmaps.filter((bitmap) => !bitmap.recording);
  const [newer] = recording;
  const [older] = still;
  if (recording.length !== 1 || newer?.name === undefined || still.length > 1)
    return { kept: undefined, first: [] };
  if (older?.name === undefined) return { kept: newer, first: [] };
  if (parseBitmapName(newer.name)?.base === known?.id)
    return { kept: newer, first: [removeBitmap({ node, name: older.name })] };
  return {
    kept: older,
    first: [
      enableBitmap({ node, name: older.name }),
      mergeBitmaps({ node, target: older.name, bitmaps: [newer.name] }),
      removeBitmap({ node, name: newer.name }),
    ],
  };
}

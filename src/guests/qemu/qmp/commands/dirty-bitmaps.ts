import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';

/** A bitmap of a node. */
export interface BitmapPlace {
  readonly node: string;
  readonly name: string;
}

/** A bitmap to be made. */
export interface NewBitmap extends BitmapPlace {
  readonly persistent?: boolean;
  /** Bytes, a power of two from 512; else QEMU chooses (64 KiB, or a cluster). */
  readonly granularity?: number;
  /** It does not record yet. */
  readonly disabled?: boolean;
}

/** What is dirty in `bitmaps` becomes dirty in `target` too; they may be of other nodes of the same size. */
export interface BitmapMerge {
  readonly node: string;
  readonly target: string;
  readonly bitmaps: ReadonlyArray<string | BitmapPlace>;
}

/** Those of the actions of qapi/transaction.json that are about bitmaps. */
export type BitmapAction =
  | { readonly type: 'block-dirty-bitmap-add'; readonly data: NewBitmap }
  | {
      readonly type: 'block-dirty-bitmap-remove' | 'block-dirty-bitmap-enable' | 'block-dirty-bitmap-disable';
      readonly data: BitmapPlace;
    }
  | { readonly type: 'block-dirty-bitmap-merge'; readonly data: BitmapMerge };

export const addBitmap = (data: NewBitmap): BitmapAction => ({ type: 'block-dirty-bitmap-add', data });
export const removeBitmap = (data: BitmapPlace): BitmapAction => ({
  type: 'block-dirty-bitmap-remove',
  data,
});
export const enableBitmap = (data: BitmapPlace): BitmapAction => ({
  type: 'block-dirty-bitmap-enable',
  data,
});
export const disableBitmap = (data: BitmapPlace): BitmapAction => ({
  type: 'block-dirty-bitmap-disable',
  data,
});
export const mergeBitmaps = (data: BitmapMerge): BitmapAction => ({ type: 'block-dirty-bitmap-merge', data });

/** Changes bitmaps of any number of nodes at one instant: all or, where one of the changes fails, none. */
export async function transaction(
  connection: QmpConnection,
  actions: readonly BitmapAction[],
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('transaction', { actions }, z.unknown(), options);
}

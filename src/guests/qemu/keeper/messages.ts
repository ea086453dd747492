import { z } from 'zod';
import { snapshotRecord } from '../snapshot-record.js';

/** What the daemon tells its keeper. */
export const order = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('take'),
    record: snapshotRecord,
    /** The keeper's own descriptors, as it inherited them. */
    listener: z.int(),
    fleecing: z.array(z.int()),
    mostConnections: z.int(),
    freezeMilliseconds: z.int(),
  }),
  /** Go on where another keeper left: the snapshot is open. */
  z.strictObject({ kind: z.literal('hold'), record: snapshotRecord }),
  /** Give up what is being taken. */
  z.strictObject({ kind: z.literal('abort') }),
  /** End the snapshot by its recorded outcome; the record is given to a keeper that does not have it yet. */
  z.strictObject({ kind: z.literal('end'), record: snapshotRecord.optional() }),
]);
export type Order = z.output<typeof order>;

const built = z.strictObject({
  instant: z.number(),
  frozen: z.number().nullable(),
  freezeMilliseconds: z.number(),
  pauseMilliseconds: z.number(),
  granuleBytes: z.array(z.number()),
  dirtyBytes: z.array(z.number().nullable()),
});

/** What a keeper tells the daemon. */
export const report = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('taken'), built }),
  /** Nothing was taken; `left` says what could not be undone yet, which the keeper goes on trying. */
  z.strictObject({
    kind: z.literal('refused'),
    code: z.string(),
    message: z.string(),
    left: z.array(z.string()),
  }),
  /** The snapshot's end was tried; where something is left the keeper goes on trying. */
  z.strictObject({ kind: z.literal('ended'), left: z.array(z.string()), owed: z.boolean() }),
]);
export type Report = z.output<typeof report>;

import { z } from 'zod';
import { lxcRecord } from '../snapshot-record.js';

/** What the daemon tells its keeper. */
export const order = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('take'),
    /** As it is written down, with what is to be frozen. */
    record: lxcRecord,
    stateFolder: z.string(),
    freezeMilliseconds: z.int(),
    /** The keeper's own descriptors, as it inherited them. */
    subvolumes: z.array(
      z.strictObject({
        descriptor: z.int(),
        folder: z.int(),
        name: z.string(),
        /** The ids of the subvolumes that were found in it. */
        nested: z.array(z.string()),
      }),
    ),
  }),
  /** Give up what is being taken. */
  z.strictObject({ kind: z.literal('abort') }),
]);
export type Order = z.output<typeof order>;

/** What a keeper tells the daemon. */
export const report = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('taken'),
    /** Milliseconds since 1970. */
    instant: z.number(),
    /** How long the container stood still; null where it was not frozen. */
    freezeMilliseconds: z.number().nullable(),
    /** By each subvolume: the paths of those that were made in it meanwhile. */
    unexpected: z.array(z.array(z.string())),
  }),
  z.strictObject({
    kind: z.literal('refused'),
    code: z.string(),
    message: z.string(),
  }),
]);
export type Report = z.output<typeof report>;

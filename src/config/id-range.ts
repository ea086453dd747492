import { z } from 'zod';

const id = z.int().min(0).max(0xffff_fffe);

/** A range of a container's ids, and where it lies among the host's. */
export const idRange = z.strictObject({
  inside: id,
  outside: id,
  count: z.int().min(1).max(0xffff_ffff),
});

export type IdRange = z.infer<typeof idRange>;

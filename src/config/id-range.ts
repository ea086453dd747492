import { z } from 'zod';

const id = z.int().min(0).max(0xffff_fffe);

/** A range of a container's ids, and where it lies among the host's. */
export const idRange = z.strictObject({
  inside: id,
  outside: id,
  count: z.int().min(1).max(0xffff_ffff),
});

export type IdRange = z.infer<typeof idRange>;

export const idMap = z.array(idRange).min(1);

/** What `INSIDE:OUTSIDE:COUNT` stands for, and more of them with + between; not checked yet. */
export function idMapSaid(text: string): unknown[] {
  return text.split('+').map((part) => {
    const [inside, outside, count] = part.split(':').map(Number);
    return { inside, outside, count };
  });
}

import { z } from 'zod';

const units: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
/** Bytes, as a number or with a unit of 1024: `20G`. */
export const size = z.union([z.int().positive(), z.string()]).transform((value, context) => {
  if (typeof value === 'number') return value;
  const [, digits, unit] = /^(\d+)([KMGT]?)$/.exec(value) ?? [];
  const bytes = Number(digits) * (units[unit ?? ''] ?? 1);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  context.addIssue({ code: 'custom', message: 'expected a size in bytes, or with K, M, G or T: 20G' });
  return z.NEVER;
});

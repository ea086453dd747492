import { z } from 'zod';
import { plainName, plainNameRule } from './plain-name.js';

const name = z.string().regex(plainName, `expected ${plainNameRule}`);
/** YAML reads `id: 100` as a number. */
export const guestId = z.union([z.int().nonnegative().transform(String), name]);
export const path = z.string().min(1);
export const seconds = z.number().positive().max(1_000_000);

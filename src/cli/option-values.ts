import { InvalidArgumentError } from 'commander';
import { size } from '../config/size.js';

/** Reads bytes a second: `80M`. */
export function rate(text: string): number {
  const parsed = size.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError('expected bytes a second, with K, M or G: 80M');
}

/** Reads a whole number that is not below `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`expected a whole number, ${least} or more`);
  };
}

import { StillError } from '../errors.js';
import type { Name } from '../name.js';

/** The values in a message that came through a port. Each is checked before it is used; EIO for what is not as it must be. */
export type Fields = Readonly<Record<string, unknown>>;

export function unexpected(what: string): never {
  throw new StillError('EIO', `a message between two threads of this program is malformed: ${what}`);
}

export function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : unexpected('no object');
}

export function text(value: unknown, what: string): string {
  return typeof value === 'string' ? value : unexpected(what);
}

export function bytesOnly(value: unknown, what: string): Name {
  const name = text(value, what);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a name is any chars from 0 to 255
  return /^[\u0000-\u00ff]*$/.test(name) ? (name as Name) : unexpected(what);
}

/** A count, a size, an offset, a handle: a whole number from 0 below 2^53. */
export function whole(value: unknown, what: string): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : unexpected(what);
}

const twoTo64 = 1n << 64n;

export function sixtyFourBits(value: unknown, what: string): bigint {
  return typeof value === 'bigint' && value >= 0n && value < twoTo64 ? value : unexpected(what);
}

export function flag(value: unknown, what: string): boolean {
  return typeof value === 'boolean' ? value : unexpected(what);
}

export function oneOf<const Words extends readonly string[]>(
  words: Words,
  value: unknown,
  what: string,
): Words[number] {
  return words.find((word) => word === value) ?? unexpected(what);
}

export function items(value: unknown, what: string): readonly unknown[] {
  return Array.isArray(value) ? value : unexpected(what);
}

import { type ErrnoName, StillError } from '../../errors.js';
import { Command } from './protocol.js';

/** NBD's error numbers (proto.md, "Error values"): what each is to the system, and in words. */
const meanings: ReadonlyMap<number, readonly [ErrnoName, string]> = new Map([
  [1, ['EPERM', 'it is not permitted']],
  [5, ['EIO', 'its storage failed']],
  [12, ['ENOMEM', 'it is out of memory']],
  [22, ['EINVAL', 'it calls the request invalid']],
  [28, ['ENOSPC', 'there is no space left']],
  [75, ['EOVERFLOW', 'the request is too large for it']],
  [95, ['EOPNOTSUPP', 'it does not support that']],
  // Node knows no ESHUTDOWN, and who reads a file would not either.
  [108, ['EIO', 'it is shutting down']],
] as const);

export const ESHUTDOWN = 108;

const names: ReadonlyMap<number, string> = new Map([
  [Command.read, 'read'],
  [Command.write, 'write'],
  [Command.flush, 'flush'],
  [Command.trim, 'trim'],
  [Command.writeZeroes, 'zeroing'],
  [Command.blockStatus, 'block status'],
]);

/** A request in words. */
export function requestInWords(type: number, offset: number, length: number): string {
  const name = names.get(type) ?? `request of type ${type}`;
  return type === Command.flush ? name : `${name} of ${length} bytes at ${offset}`;
}

/**
 * The error for a request that the server answered with an error number. A range is checked before it is asked for, so
 * EINVAL means bytes that can't be had (QEMU's answer for what was given back or lies outside a bitmap): EIO for who
 * wanted to see them.
 */
export function refusal(
  request: { readonly type: number; readonly offset: number; readonly length: number },
  error: number,
  said: string,
  at?: number,
): StillError {
  const [errno, meaning] = meanings.get(error) ?? ['EINVAL', `error ${error}`];
  const looks = request.type === Command.read || request.type === Command.blockStatus;
  const place = at === undefined ? '' : `, at ${at}`;
  const words = said === '' ? '' : ` ("${said}")`;
  return new StillError(
    looks && errno === 'EINVAL' ? 'EIO' : errno,
    `the NBD server refused a ${requestInWords(request.type, request.offset, request.length)}: ${meaning}${place}${words}`,
  );
}

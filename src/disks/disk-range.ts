import { StillError } from '../errors.js';

/** Checks that a range lies on a disk: EINVAL where it doesn't. */
export function mustLieWithin(
  disk: { readonly size: number },
  path: string,
  offset: number,
  length: number,
): void {
  const inside =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    length <= disk.size - offset;
  if (!inside)
    throw new StillError('EINVAL', `${path} has ${disk.size} bytes: no ${length} bytes lie at ${offset}`);
}

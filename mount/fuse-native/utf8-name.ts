import { isUtf8 } from 'node:buffer';
import { type Name, nameToBytes, nameToText } from '../../src/name.js';

/**
 * A name as the package can pass it on, which knows names only as text: what is not UTF-8 would come back damaged, and
 * could stand for another file. Undefined there.
 */
export function utf8NameText(name: Name): string | undefined {
  return isUtf8(nameToBytes(name)) ? nameToText(name) : undefined;
}

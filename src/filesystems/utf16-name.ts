import { type Name, nameFromText } from '../name.js';

const ascii = /^[\0-\x7f]*$/;
const halfOfPair = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** UTF-16 as the bytes of a name, as Linux shows it on FAT and exFAT: in UTF-8, without halves of surrogate pairs. */
export function nameFromUtf16(text: string): Name {
  return ascii.test(text) ? (text as Name) : nameFromText(text.replace(halfOfPair, ''));
}

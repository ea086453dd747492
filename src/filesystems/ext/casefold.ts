/**
 * Folds a name as a casefolded folder of ext4 does (utf8_casefold, NFDICF): full case folding of what is decomposed,
 * without what is to be ignored. The tables are JavaScript's, of a newer Unicode than Linux has (12.1). Undefined for what
 * is no UTF-8: Linux compares bytes then.
 */
export function casefold(name: Buffer): Buffer | undefined {
  const text = name.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(name)) return undefined;
  return Buffer.from(foldedText(text), 'utf8');
}

const ignorable = /\p{Default_Ignorable_Code_Point}/gu;
/** Cherokee letters are folded to the upper case: the lower one came later. */
const cherokee = /[\u13a0-\u13fd\uab70-\uabbf]/;
/** Its upper case is another letter's. */
const dotlessI = '\u0131';

function foldedText(text: string): string {
  let folded = '';
  for (const char of text.normalize('NFD').replace(ignorable, '')) folded += foldedChar(char);
  return folded.normalize('NFD');
}

/** By way of the upper case, which is longer for some: ß and ẞ become ss, ς becomes σ. */
function foldedChar(char: string): string {
  if (char === dotlessI) return char;
  const upper = char.toLowerCase().toUpperCase();
  if (cherokee.test(char)) return upper;
  let folded = '';
  // One by one: a sigma at the end of a word has a lower case of its own.
  for (const each of upper) folded += each.toLowerCase();
  return folded;
}

/**
 * Names are bytes. Guests hold names that are not UTF-8, and what goes in must come out the same, so inside
 * the program a name is a string with one char (0 to 255) for each byte. It is decoded only for people.
 */
declare const oneCharAByte: unique symbol;
export type Name = string & { readonly [oneCharAByte]: true };

/** The name that a person or a configuration wrote: UTF-8. */
export function nameFromText(text: string): Name {
  return Buffer.from(text, 'utf8').toString('latin1') as Name;
}

export function nameFromBytes(bytes: Uint8Array): Name {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') as Name;
}

/** The name that lies in some bytes. */
export function nameWithin(bytes: Buffer, from: number, to: number): Name {
  return bytes.toString('latin1', from, to) as Name;
}

export function nameToBytes(name: Name): Buffer {
  return Buffer.from(name, 'latin1');
}

/** The name as text; bytes that are no UTF-8 become U+FFFD, so this never leads back to the file. */
export function nameToText(name: Name): string {
  return nameToBytes(name).toString('utf8');
}

/** NAME_MAX of linux/limits.h, bytes. */
export const longestName = 255;
/** What FUSE takes, bytes. Windows counts characters: its 255 are up to 765 bytes, and such names are shown. */
export const longestShownName = 1024;

/** Whether a name can stand in a folder here: at most 255 bytes, and as `isShownName`. */
export function isEntryName(name: Name): boolean {
  return name.length <= longestName && isShownName(name);
}

/** Whether a name can be shown in a folder: not empty, no `/`, no NUL, neither `.` nor `..`, not longer than FUSE takes. */
export function isShownName(name: Name): boolean {
  return (
    name !== '' && name.length <= longestShownName && name !== '.' && name !== '..' && !/[/\0]/.test(name)
  );
}

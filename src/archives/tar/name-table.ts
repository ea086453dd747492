/** Columns that the table looks names up in. */
export interface NamedEntries {
  readonly entryFolder: Uint32Array;
  readonly entryName: Uint32Array;
  readonly entryNameBytes: Uint8Array;
  readonly text: Uint8Array;
  readonly table: Uint32Array;
}

/**
 * The hash of a name in a folder. The seed is another one in each index, so that no archive can be made whose names
 * all meet in one place.
 */
export function hashOfName(
  seed: number,
  folder: number,
  bytes: Uint8Array,
  from: number,
  to: number,
): number {
  let hash = seed ^ Math.imul(folder + 1, 0x9e3779b1);
  for (let at = from; at < to; at++) {
    hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x85ebca6b);
    hash = (hash << 13) | (hash >>> 19);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2ae35);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** The place in the table that holds the name's entry, or that is free for it. */
export function placeOfName(
  entries: NamedEntries,
  hash: number,
  folder: number,
  bytes: Uint8Array,
  from: number,
  to: number,
): number {
  const { entryFolder, entryName, entryNameBytes, text, table } = entries;
  const mask = table.length - 1;
  for (let place = hash & mask; ; place = (place + 1) & mask) {
    const found = table[place] ?? 0;
    if (found === 0) return place;
    const entry = found - 1;
    if (entryFolder[entry] !== folder || entryNameBytes[entry] !== to - from) continue;
    const name = entryName[entry] ?? 0;
    let at = 0;
    while (at < to - from && text[name + at] === bytes[from + at]) at++;
    if (at === to - from) return place;
  }
}

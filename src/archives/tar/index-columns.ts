/**
 * What is known of an archive's files, in columns, so that a million of them take tens of megabytes and no objects.
 *
 * A *node* is a file, numbered from 0: the root. An *entry* is a name in a folder that stands for a node. A *folder* is
 * what a node that is a directory has beside. Times are seconds and nanoseconds.
 */
export interface IndexColumns {
  /** Of nodes: the number of the type (`typeNumber`) from bit 12 on, permissions below, `unreadable` at bit 15. */
  kind: Uint16Array;
  uid: Uint32Array;
  gid: Uint32Array;
  links: Uint32Array;
  /** Bytes of a file or of a symlink's target. */
  size: Float64Array;
  /** A file: where its bytes begin; a directory: its folder's number; a symlink: where its target begins in `text`; a device: major · 2^32 + minor. */
  place: Float64Array;
  modified: Float64Array;
  modifiedNanoseconds: Uint32Array;
  /** Empty where all files have these times as `modified`. */
  accessed: Float64Array;
  accessedNanoseconds: Uint32Array;
  changed: Float64Array;
  changedNanoseconds: Uint32Array;
  /** 1 + the number of the node's row in `extras`, or 0. */
  extra: Uint32Array;
  /** Rows of what few nodes have, see `extraColumns`. */
  extras: Float64Array;
  /** Of all sparse files: offset in the file, offset in its archived bytes; a last pair ends each file's. */
  pieces: Float64Array;

  /** Of folders: their node, their parent's folder, the first of their places in `order`, how many entries they have. */
  folderNode: Uint32Array;
  folderParent: Uint32Array;
  folderFirst: Uint32Array;
  folderCount: Uint32Array;

  /** Of entries: folder, node, where the name begins in `text`, its bytes. */
  entryFolder: Uint32Array;
  entryNode: Uint32Array;
  entryName: Uint32Array;
  entryNameBytes: Uint8Array;
  /** The entries, folder after folder, in each in the order of the archive. */
  order: Uint32Array;
  /** Names to entries: 1 + an entry's number, or 0, found from the name's hash on. A power of two long. */
  table: Uint32Array;
  /** Names and targets. */
  text: Uint8Array;
}

/** The columns that have a row for each node. */
export const nodeColumns = [
  'kind',
  'uid',
  'gid',
  'links',
  'size',
  'place',
  'modified',
  'modifiedNanoseconds',
  'extra',
] as const satisfies ReadonlyArray<keyof IndexColumns>;

/** As well, or empty. */
export const timeColumns = [
  'accessed',
  'accessedNanoseconds',
  'changed',
  'changedNanoseconds',
] as const satisfies ReadonlyArray<keyof IndexColumns>;

export const folderColumns = [
  'folderNode',
  'folderParent',
  'folderFirst',
  'folderCount',
] as const satisfies ReadonlyArray<keyof IndexColumns>;

export const entryColumns = [
  'entryFolder',
  'entryNode',
  'entryName',
  'entryNameBytes',
] as const satisfies ReadonlyArray<keyof IndexColumns>;

export const columnNames = [
  ...nodeColumns,
  ...timeColumns,
  'extras',
  'pieces',
  ...folderColumns,
  ...entryColumns,
  'order',
  'table',
  'text',
] as const satisfies ReadonlyArray<keyof IndexColumns>;

/** What a row of `extras` holds. Bytes in the archive; a header of size 0 is none; a sparse file has pieces. */
export const extraColumns = {
  ownHeader: 0,
  ownHeaderBytes: 1,
  globalHeader: 2,
  globalHeaderBytes: 3,
  firstPiece: 4,
  pieces: 5,
} as const;
export const extraRow = 6;

/** A column without rows. */
export function emptyColumns(): IndexColumns {
  return {
    kind: new Uint16Array(0),
    uid: new Uint32Array(0),
    gid: new Uint32Array(0),
    links: new Uint32Array(0),
    size: new Float64Array(0),
    place: new Float64Array(0),
    modified: new Float64Array(0),
    modifiedNanoseconds: new Uint32Array(0),
    accessed: new Float64Array(0),
    accessedNanoseconds: new Uint32Array(0),
    changed: new Float64Array(0),
    changedNanoseconds: new Uint32Array(0),
    extra: new Uint32Array(0),
    extras: new Float64Array(0),
    pieces: new Float64Array(0),
    folderNode: new Uint32Array(0),
    folderParent: new Uint32Array(0),
    folderFirst: new Uint32Array(0),
    folderCount: new Uint32Array(0),
    entryFolder: new Uint32Array(0),
    entryNode: new Uint32Array(0),
    entryName: new Uint32Array(0),
    entryNameBytes: new Uint8Array(0),
    order: new Uint32Array(0),
    table: new Uint32Array(0),
    text: new Uint8Array(0),
  };
}

type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** The first rows of a column. */
export function cutTo<C extends Column>(column: C, rows: number): C;
export function cutTo(column: Column, rows: number): Column {
  return column.subarray(0, rows);
}

/** The same column with room for `rows`, which are more than it has. */
export function withRoom<C extends Column>(column: C, rows: number): C;
export function withRoom(column: Column, rows: number): Column {
  const larger = sameKind(column, rows);
  larger.set(column);
  return larger;
}

/** A new column of zeros, of the same kind of numbers. */
export function sameKind(column: Column, rows: number): Column {
  if (column instanceof Uint8Array) return new Uint8Array(rows);
  if (column instanceof Uint16Array) return new Uint16Array(rows);
  if (column instanceof Uint32Array) return new Uint32Array(rows);
  return new Float64Array(rows);
}

/** A value as a column of the same kind of numbers; undefined where it is none. */
export function sameColumn<C extends Column>(column: C, value: unknown): C | undefined;
export function sameColumn(column: Column, value: unknown): Column | undefined {
  if (column instanceof Uint8Array) return value instanceof Uint8Array ? value : undefined;
  if (column instanceof Uint16Array) return value instanceof Uint16Array ? value : undefined;
  if (column instanceof Uint32Array) return value instanceof Uint32Array ? value : undefined;
  return value instanceof Float64Array ? value : undefined;
}

/** Room to grow into: what is not written to yet takes no memory. */
export function larger(rows: number): number {
  return Math.max(64, rows * 2);
}

/** Makes room for more rows in columns that have `rows` of them. */
export function grow(columns: IndexColumns, names: ReadonlyArray<keyof IndexColumns>, rows: number): void {
  for (const name of names) setColumn(columns, name, larger(rows));
}

/** Gives a column room for `rows`, which are more than it has. */
export function setColumn<N extends keyof IndexColumns>(columns: IndexColumns, name: N, rows: number): void {
  columns[name] = withRoom<IndexColumns[N]>(columns[name], rows);
}

/** Lets go of the room behind so many rows. */
export function trim(columns: IndexColumns, names: ReadonlyArray<keyof IndexColumns>, rows: number): void {
  for (const name of names) cutColumn(columns, name, rows);
}

function cutColumn<N extends keyof IndexColumns>(columns: IndexColumns, name: N, rows: number): void {
  columns[name] = cutTo<IndexColumns[N]>(columns[name], rows);
}

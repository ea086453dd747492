import { StillError } from '../../errors.js';
import type { ImageFile } from '../image-file.js';
import { CompressedClusters } from './compressed-clusters.js';
import { type EntryFormat, type Piece, readExtendedL2Entry, readL1Entry, readL2Entry } from './entries.js';
import type { Qcow2Header } from './header.js';
import { TablePages } from './table-pages.js';

/** What a layer says of a range from its start on: all of one kind, and for data, in one piece of the file. */
export type Run = Exclude<Piece, { kind: 'damaged' }>;

/** One image of a chain. What it calls absent is its backing image's to say. */
export interface Layer {
  /** Bytes. Beyond it, the layer reads as zeros, whatever lies below. */
  readonly size: number;
  readonly file: ImageFile;
  /** Undefined for a raw image, which has no clusters. */
  readonly compressed: CompressedClusters | undefined;
  /** The run at an offset, up to `length` long; undefined if a table must be read first: `prepare` does. EIO: damaged. */
  run(offset: number, length: number): Run | undefined;
  prepare(offset: number, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** A raw image at the end of a chain: all data. */
export class RawLayer implements Layer {
  readonly size: number;
  readonly compressed = undefined;

  constructor(readonly file: ImageFile) {
    this.size = file.size;
  }

  run(offset: number, length: number): Run {
    return { kind: 'data', length, hostOffset: offset };
  }

  async prepare(): Promise<void> {
    // It has no tables.
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** A qcow2 image: a table of tables (L1, L2) says where each cluster of the disk lies in the file. */
export class Qcow2Layer implements Layer {
  readonly size: number;
  readonly compressed: CompressedClusters;
  readonly #header: Qcow2Header;
  readonly #format: EntryFormat;
  readonly #pages: TablePages;
  readonly #entryBytes: number;
  readonly #entriesPerTable: number;
  /** How many bytes of the disk one L2 table speaks of. */
  readonly #tableReach: number;

  constructor(
    readonly file: ImageFile,
    header: Qcow2Header,
  ) {
    this.#header = header;
    this.size = header.size;
    this.#format = { ...header, fileSize: file.size };
    this.#pages = new TablePages(file);
    this.compressed = new CompressedClusters(file, header.clusterSize, header.compression);
    this.#entryBytes = header.extendedL2 ? 16 : 8;
    this.#entriesPerTable = header.clusterSize / this.#entryBytes;
    this.#tableReach = this.#entriesPerTable * header.clusterSize;
  }

  run(offset: number, length: number): Run | undefined {
    const l1Index = Math.floor(offset / this.#tableReach);
    const l1At = this.#header.l1Offset + l1Index * 8;
    const l1Page = this.#pages.now(l1At);
    if (!l1Page) return undefined;
    const table = this.#table(l1Index, l1Page.uint32(l1At), l1Page.uint32(l1At + 4));
    if (table === 0) {
      let next = l1Index + 1;
      const last = Math.floor((offset + length - 1) / this.#tableReach);
      for (let at = l1At + 8; next <= last && at + 8 <= l1Page.end; at += 8, next++) {
        if ((l1Page.uint32(at) | l1Page.uint32(at + 4)) !== 0) break;
      }
      return { kind: 'absent', length: Math.min(length, next * this.#tableReach - offset) };
    }
    return this.#runInTable(table, offset, length);
  }

  async prepare(offset: number, signal?: AbortSignal): Promise<void> {
    const l1Index = Math.floor(offset / this.#tableReach);
    const l1At = this.#header.l1Offset + l1Index * 8;
    const l1Page = await this.#pages.load(l1At, signal);
    const table = this.#table(l1Index, l1Page.uint32(l1At), l1Page.uint32(l1At + 4));
    if (table !== 0) await this.#pages.load(table + this.#indexInTable(offset) * this.#entryBytes, signal);
  }

  async close(): Promise<void> {
    this.#pages.clear();
    this.compressed.clear();
    await this.file.close();
  }

  #runInTable(table: number, offset: number, length: number): Run | undefined {
    const first = this.#indexInTable(offset);
    const firstAt = table + first * this.#entryBytes;
    const page = this.#pages.now(firstAt);
    if (!page) return undefined;
    const { clusterSize, extendedL2 } = this.#header;
    const tableEnd = Math.min(page.end, table + clusterSize);

    let within = offset % clusterSize;
    let at = firstAt;
    const pieceHere = (): Piece =>
      extendedL2
        ? readExtendedL2Entry(
            this.#format,
            page.uint32(at),
            page.uint32(at + 4),
            page.uint32(at + 8),
            page.uint32(at + 12),
            within,
          )
        : readL2Entry(this.#format, page.uint32(at), page.uint32(at + 4), within);

    const run = pieceHere();
    if (run.kind === 'damaged')
      throw this.#damaged(`the L2 entry at ${at} of the file (for ${offset} of the disk): ${run.what}`);
    let total = run.length;
    // What the next entry is where nothing changes: the same, or the next cluster of the file.
    const step = run.kind === 'data' ? clusterSize : 0;
    let high = page.uint32(at);
    let low = page.uint32(at + 4);
    while (total < length && run.kind !== 'compressed') {
      within = (offset + total) % clusterSize;
      at = firstAt + Math.floor(((offset % clusterSize) + total) / clusterSize) * this.#entryBytes;
      if (at + this.#entryBytes > tableEnd) break;
      const follows = page.uint32(at) === high && page.uint32(at + 4) === low + step;
      high = page.uint32(at);
      low = page.uint32(at + 4);
      if (follows && !extendedL2 && (run.kind !== 'data' || run.hostOffset + total < this.file.size)) {
        total += clusterSize;
        continue;
      }
      const next = pieceHere();
      if (next.kind !== run.kind) break;
      if (next.kind === 'data' && run.kind === 'data' && next.hostOffset !== run.hostOffset + total) break;
      total += next.length;
    }
    return { ...run, length: Math.min(total, length) };
  }

  #indexInTable(offset: number): number {
    return Math.floor(offset / this.#header.clusterSize) % this.#entriesPerTable;
  }

  /** Where the L2 table of an L1 entry lies, 0 for none. */
  #table(l1Index: number, high: number, low: number): number {
    const table = readL1Entry(high, low);
    if (table === 0) return 0;
    const { clusterSize, l1Offset, l1Entries } = this.#header;
    const wrong =
      typeof table === 'string'
        ? table
        : table % clusterSize !== 0
          ? `a table at ${table}, not at a cluster`
          : table + clusterSize > this.file.size
            ? `a table at ${table}, beyond the file's ${this.file.size} bytes`
            : table < l1Offset + l1Entries * 8 && table + clusterSize > l1Offset
              ? `a table at ${table}, within the L1 table`
              : undefined;
    if (wrong !== undefined || typeof table === 'string')
      throw this.#damaged(`L1 entry ${l1Index}: ${wrong}`);
    return table;
  }

  #damaged(what: string): StillError {
    return new StillError('EIO', `${this.file.path} is damaged: ${what}`);
  }
}

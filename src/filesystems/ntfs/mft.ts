import { messageOf, StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';
import { attributeTypes, type NonResidentAttribute } from './attribute.js';
import type { Geometry } from './boot-sector.js';
import { FileAttributes, type RecordSource } from './file-attributes.js';
import {
  type FileReference,
  type MftRecord,
  parseMftRecord,
  sequenceBytes,
  sequenceInUse,
} from './mft-record.js';
import { parseRuns, type Runs, runOf } from './runs.js';

/** Its own first record, and that of its copy. */
const ownRecord = 0;
/** So many records have a copy at least. */
const mirrored = 4;
/** As many files as NTFS can have. */
const mostRecords = 2 ** 32;
/** Of a table in so many pieces the rest can't be read: one run takes 16 bytes of memory. */
const mostRuns = 1 << 20;

/** The master file table: a record or more for each file, the table itself among them. */
export class Mft implements RecordSource {
  /** How many records there are. */
  count = mirrored;
  /** Where the clusters of the table lie; those of its first part, until the rest is read. */
  readonly #starts: number[] = [];
  readonly #places: number[] = [];
  #end = 0;
  /** For a record that is looked at and not kept. */
  #room: Buffer | undefined;

  private constructor(
    readonly cache: CachedReads,
    readonly geometry: Geometry,
    readonly problem: (sentence: string) => void,
  ) {}

  /** Finds the table. EIO: neither its first record nor the copy of it can be read. */
  static async open(
    cache: CachedReads,
    geometry: Geometry,
    problem: (sentence: string) => void,
    signal: AbortSignal,
  ): Promise<Mft> {
    const mft = new Mft(cache, geometry, problem);
    let own: MftRecord;
    try {
      own = await mft.#recordAt(geometry.mft, ownRecord, signal);
      await mft.#findItself(own, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      problem(`The master file table is read by the copy of its first record: ${messageOf(error)}.`);
      own = await mft.#recordAt(geometry.mirror, ownRecord, signal);
      await mft.#findItself(own, signal);
    }
    return mft;
  }

  /** Reads a record. EIO: it is damaged. ESTALE: there is none of that number. */
  async record(number: number, signal: AbortSignal): Promise<MftRecord> {
    try {
      return parseMftRecord(
        this.#storedNow(number, this.geometry.recordBytes) ??
          (await this.#stored(number, this.geometry.recordBytes, signal)),
        number,
      );
    } catch (error) {
      if (number >= mirrored || !(error instanceof StillError) || error.code !== 'EIO') throw error;
      const { mirror, recordBytes } = this.geometry;
      const record = await this.#recordAt(mirror + number * recordBytes, number, signal);
      this.problem(`MFT record ${number} is read from its copy: ${messageOf(error)}.`);
      return record;
    }
  }

  /** A record, without a wait, good until the next one: undefined where it is not in memory. EIO: it is damaged. */
  recordNow(number: number): MftRecord | undefined {
    const stored = this.#storedNow(number, this.geometry.recordBytes);
    this.#room ??= Buffer.alloc(this.geometry.recordBytes);
    return stored && parseMftRecord(stored, number, this.#room);
  }

  /**
   * Whether a reference stands for a file that is still there. True also where the record can't be read: who reads all of it is told
   * why.
   */
  async isCurrent(file: FileReference, signal: AbortSignal): Promise<boolean> {
    const now = this.isCurrentNow(file);
    if (now !== undefined) return now;
    try {
      return isUseOf(file, await this.#stored(file.record, sequenceBytes, signal));
    } catch (error) {
      if (error instanceof StillError) return true;
      throw error;
    }
  }

  /** The same, without a wait: undefined where that takes one. */
  isCurrentNow(file: FileReference): boolean | undefined {
    const { record } = file;
    if (record >= this.count) return false;
    const stored = this.#storedNow(record, sequenceBytes);
    return stored && isUseOf(file, stored);
  }

  /** The first bytes of a record as they are stored, where they are in memory, in one place. */
  #storedNow(number: number, length: number): Buffer | undefined {
    const { clusterBytes, recordBytes } = this.geometry;
    const offset = number * recordBytes;
    const isPlaced = number >= 0 && number < this.count && Math.floor(offset / clusterBytes) < this.#end;
    if (!isPlaced || length > clusterBytes - (offset % clusterBytes)) return undefined;
    return this.cache.now(this.#place(offset), length);
  }

  /** The first bytes of a record as they are stored. */
  async #stored(number: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (!(number >= 0 && number < this.count))
      throw new StillError('ESTALE', `there is no MFT record ${number}`);
    const { clusterBytes, recordBytes } = this.geometry;
    const offset = number * recordBytes;
    const first = this.#place(offset);
    const within = clusterBytes - (offset % clusterBytes);
    if (length <= within) return this.cache.bytes(first, length, signal);
    // A record that is larger than a cluster may lie in several places.
    const parts = [await this.cache.bytes(first, within, signal)];
    for (let at = within; at < length; at += clusterBytes)
      parts.push(
        await this.cache.bytes(this.#place(offset + at), Math.min(clusterBytes, length - at), signal),
      );
    return Buffer.concat(parts);
  }

  /** A record that is known to lie somewhere, whatever the table says. */
  async #recordAt(place: number, number: number, signal: AbortSignal): Promise<MftRecord> {
    const { recordBytes } = this.geometry;
    if (place + recordBytes > this.cache.size)
      throw new StillError('EIO', `MFT record ${number} would lie at ${place}, behind the end of the disk`);
    return parseMftRecord(await this.cache.bytes(place, recordBytes, signal), number);
  }

  /** Where a byte of the table lies on the disk. */
  #place(offset: number): number {
    const { clusterBytes } = this.geometry;
    const cluster = Math.floor(offset / clusterBytes);
    if (cluster >= this.#end)
      throw new StillError('EIO', `the master file table does not tell where its cluster ${cluster} lies`);
    const run = runOf({ starts: this.#starts, places: this.#places, end: this.#end }, cluster);
    const place = (this.#places[run] ?? 0) + cluster - (this.#starts[run] ?? 0);
    return place * clusterBytes + (offset % clusterBytes);
  }

  async #findItself(own: MftRecord, signal: AbortSignal): Promise<void> {
    this.#starts.length = 0;
    this.#places.length = 0;
    this.#end = 0;
    const attributes = await FileAttributes.of(own, this, signal);
    const first = own.attributes.find(({ type, name }) => type === attributeTypes.data && name === '');
    if (!own.inUse || !first || first.resident || !first.sizes)
      throw new StillError(
        'EIO',
        'the first record of the master file table does not tell where the table lies',
      );
    this.#append(first);
    this.count = Math.min(Math.floor(first.sizes.initialized / this.geometry.recordBytes), mostRecords);
    try {
      // Each part is told in a record that the parts before it tell of.
      for (const part of attributes.listed(attributeTypes.data, '').slice(1)) {
        const attribute = await attributes.load(part, signal);
        if (!attribute.resident) this.#append(attribute);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      this.problem(`Not all of the master file table can be read: ${messageOf(error)}.`);
    }
  }

  #append(part: NonResidentAttribute): void {
    const runs: Runs = parseRuns(part, this.geometry.clusters, ownRecord);
    if (part.first !== this.#end || this.#starts.length + runs.starts.length > mostRuns)
      throw new StillError('EIO', `the master file table has a gap at its cluster ${this.#end}`);
    if (runs.places.some((place) => place <= 0))
      throw new StillError('EIO', 'the master file table has a hole');
    for (const start of runs.starts) this.#starts.push(start);
    for (const place of runs.places) this.#places.push(place);
    this.#end = runs.end;
  }
}

/** Whether it is the use of a record, whose first bytes these are, that a reference tells of. */
function isUseOf({ sequence }: FileReference, stored: Buffer): boolean {
  const inUse = sequenceInUse(stored);
  return inUse !== undefined && (sequence === 0 || sequence === inUse);
}

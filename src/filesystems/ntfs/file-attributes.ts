import { StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';
import { type Attribute, attributeTypes, type NonResidentAttribute } from './attribute.js';
import { type ListedAttribute, mostListBytes, parseAttributeList } from './attribute-list.js';
import type { Geometry } from './boot-sector.js';
import { ClusterMap, type ValuePart } from './cluster-map.js';
import type { MftRecord } from './mft-record.js';
import { parseRuns } from './runs.js';

/** What records of a volume come from. */
export interface RecordSource {
  readonly cache: CachedReads;
  readonly geometry: Geometry;
  record(number: number, signal: AbortSignal): Promise<MftRecord>;
}

/** The attributes of a file: those in its own record, and those that its attribute list knows to be in others. */
export class FileAttributes {
  /** The record that was read last: it holds what stands side by side in the list. */
  #holder: MftRecord | undefined;

  private constructor(
    readonly record: MftRecord,
    readonly source: RecordSource,
    readonly list: readonly ListedAttribute[] | undefined,
  ) {}

  /** Undefined where the record has a list of attributes in others. */
  static within(record: MftRecord, source: RecordSource): FileAttributes | undefined {
    return listOf(record) ? undefined : new FileAttributes(record, source, undefined);
  }

  static async of(record: MftRecord, source: RecordSource, signal: AbortSignal): Promise<FileAttributes> {
    const list = listOf(record);
    if (!list) return new FileAttributes(record, source, undefined);
    const bytes = list.resident ? list.value : await listValue(list, record.number, source, signal);
    return new FileAttributes(record, source, parseAttributeList(bytes, record.number));
  }

  /** The names of all attributes of a type: the same once only. */
  names(type: number): string[] {
    return [
      ...new Set(
        (this.list ?? this.record.attributes).filter((each) => each.type === type).map(({ name }) => name),
      ),
    ];
  }

  /** The parts of an attribute that the list tells of, in ascending order; none without a list. */
  listed(type: number, name: string): ListedAttribute[] {
    return (this.list ?? [])
      .filter((each) => each.type === type && each.name === name)
      .sort((one, other) => one.first - other.first);
  }

  /** An attribute, or its first part. */
  async find(type: number, name: string, signal: AbortSignal): Promise<Attribute | undefined> {
    if (!this.list) return this.record.attributes.find((each) => each.type === type && each.name === name);
    const [first] = this.listed(type, name);
    return first && this.load(first, signal);
  }

  /** The attributes of some types, or their first parts. */
  async firstParts(types: ReadonlySet<number>, signal: AbortSignal): Promise<readonly Attribute[]> {
    if (!this.list) return this.record.attributes;
    const found: Attribute[] = [];
    for (const each of this.list)
      if (each.first === 0 && types.has(each.type)) found.push(await this.load(each, signal));
    return found;
  }

  /** An attribute that the list tells of. EIO: it is not where the list says. */
  async load(wanted: ListedAttribute, signal: AbortSignal): Promise<Attribute> {
    const { holder, type, name, first, instance } = wanted;
    const { number, sequence } = this.record;
    const record = holder.record === number ? this.record : await this.#held(holder.record, signal);
    const belongs =
      record === this.record ||
      (record.inUse && record.base?.record === number && record.base.sequence === sequence);
    const attribute = belongs
      ? record.attributes.find(
          (each) =>
            each.type === type &&
            each.name === name &&
            each.instance === instance &&
            (each.resident ? 0 : each.first) === first,
        )
      : undefined;
    if (attribute) return attribute;
    throw new StillError(
      'EIO',
      `MFT record ${number} is damaged: its attribute 0x${type.toString(16)} is not in record ${holder.record}`,
    );
  }

  async #held(number: number, signal: AbortSignal): Promise<MftRecord> {
    if (this.#holder?.number !== number) this.#holder = await this.source.record(number, signal);
    return this.#holder;
  }

  /** Where the clusters of an attribute lie, of which this is the first part. */
  map(first: NonResidentAttribute): ClusterMap {
    const { clusters, clusterBytes } = this.source.geometry;
    const { number } = this.record;
    const parts = this.listed(first.type, first.name).map(
      (part): ValuePart => ({
        first: part.first,
        runs: async (signal) => {
          const attribute = part.first === first.first ? first : await this.load(part, signal);
          if (!attribute.resident) return parseRuns(attribute, clusters, number);
          throw new StillError('EIO', `MFT record ${number} is damaged: a part of its data has no clusters`);
        },
      }),
    );
    if (parts.length > 1) return new ClusterMap(parts, clusterBytes, number);
    const runs = parseRuns(first, clusters, number);
    return new ClusterMap([{ first: first.first, runs: async () => runs }], clusterBytes, number);
  }
}

function listOf(record: MftRecord): Attribute | undefined {
  return record.attributes.find(({ type }) => type === attributeTypes.attributeList);
}

/** The value of an attribute list that does not fit into the record: all of its clusters are told there. */
async function listValue(
  list: NonResidentAttribute,
  owner: number,
  { cache, geometry }: RecordSource,
  signal: AbortSignal,
): Promise<Buffer> {
  const { clusterBytes, clusters } = geometry;
  const size = list.sizes?.size ?? 0;
  const { starts, places, end } = parseRuns(list, clusters, owner);
  if (size > mostListBytes || size > end * clusterBytes || places.some((place) => place < 0))
    throw new StillError('EIO', `the attribute list of MFT record ${owner} is damaged: it has ${size} bytes`);
  const parts: Buffer[] = [];
  let left = size;
  for (const [run, place] of places.entries()) {
    if (left === 0) break;
    const length = Math.min(left, ((starts[run + 1] ?? end) - (starts[run] ?? 0)) * clusterBytes);
    parts.push(await cache.bytes(place * clusterBytes, length, signal));
    left -= length;
  }
  return Buffer.concat(parts);
}

import { MessagePort } from 'node:worker_threads';
import type { PortDiskFacts } from '../../disks/port/port-disk.js';
import { fields, oneOf, text, unexpected, whole } from '../../port/fields.js';
import type { CachePlace } from '../compressed/cache-place.js';
import type { Compression } from '../compressed/compression.js';

/** Where indexes and what was decompressed are kept, for all archives together. */
export interface ArchiveCache {
  readonly folder: string;
  /** The limit of what the folder may hold. */
  readonly mostBytes: number;
}

/** How a worker gets at the bytes of an archive, and tells of it. */
export interface ArchiveTask {
  /** Through which the archive's bytes are read (`serveDisk`). */
  readonly disk: MessagePort;
  readonly facts: PortDiskFacts;
  /** Through which is told what is no answer: `Told`. */
  readonly told: MessagePort;
}

/** What the worker is to do that makes a tar archive's index. */
export interface TarIndexTask extends ArchiveTask {
  readonly compression: Compression;
  readonly place: CachePlace | undefined;
}

/** What a worker tells of its archive by itself. */
export type Told =
  | { readonly kind: 'problem'; readonly sentence: string }
  /** How many bytes of the archive the index covers. */
  | { readonly kind: 'progress'; readonly bytes: number };

const compressions = ['none', 'gzip', 'zstd', 'xz', 'bzip2', 'lz4'] as const;

export function parseArchiveTask(value: unknown): ArchiveTask {
  const from = fields(value);
  return {
    disk: portOf(from.disk),
    facts: factsOf(from.facts),
    told: portOf(from.told),
  };
}

export function parseTarIndexTask(value: unknown): TarIndexTask {
  const { compression, place } = fields(value);
  return {
    ...parseArchiveTask(value),
    compression: oneOf(compressions, compression, 'compression'),
    place: place === undefined ? undefined : placeOf(place),
  };
}

export function parseTold(value: unknown): Told {
  const from = fields(value);
  if (from.kind === 'problem') return { kind: 'problem', sentence: text(from.sentence, 'sentence') };
  if (from.kind === 'progress') return { kind: 'progress', bytes: whole(from.bytes, 'bytes') };
  return unexpected('kind');
}

function factsOf(value: unknown): PortDiskFacts {
  const from = fields(value);
  return {
    size: whole(from.size, 'size'),
    name: text(from.name, 'name'),
    descriptor: from.descriptor === undefined ? undefined : whole(from.descriptor, 'descriptor'),
  };
}

function placeOf(value: unknown): CachePlace {
  const from = fields(value);
  return {
    folder: text(from.folder, 'folder'),
    mostBytes: whole(from.mostBytes, 'mostBytes'),
    identity: text(from.identity, 'identity'),
  };
}

function portOf(value: unknown): MessagePort {
  return value instanceof MessagePort ? value : unexpected('port');
}

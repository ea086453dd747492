import { MessagePort } from 'node:worker_threads';
import { fields, oneOf, text, unexpected, whole } from '../../port/fields.js';
import type { ArchiveFormat } from '../archive-format.js';

/** Where indexes and what was decompressed are kept, for all archives together. */
export interface ArchiveCache {
  readonly folder: string;
  /** The limit of what the folder may hold. */
  readonly mostBytes: number;
}

/** What the worker of an archive is to open. */
export interface ArchiveTask {
  /** Through which the archive's bytes are read (`serveDisk`). */
  readonly disk: MessagePort;
  /** Bytes of the archive. */
  readonly size: number;
  /** What stands for the archive in errors. */
  readonly name: string;
  readonly format: ArchiveFormat;
  /** What tells this archive, and this state of it, from all others. */
  readonly identity: string;
  readonly cache: ArchiveCache | undefined;
  /** Through which is told what no operation of the tree tells: `Told`. */
  readonly told: MessagePort;
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
    size: whole(from.size, 'size'),
    name: text(from.name, 'name'),
    format: formatOf(from.format),
    identity: text(from.identity, 'identity'),
    cache: from.cache === undefined ? undefined : cacheOf(from.cache),
    told: portOf(from.told),
  };
}

export function parseTold(value: unknown): Told {
  const from = fields(value);
  if (from.kind === 'problem') return { kind: 'problem', sentence: text(from.sentence, 'sentence') };
  if (from.kind === 'progress') return { kind: 'progress', bytes: whole(from.bytes, 'bytes') };
  return unexpected('kind');
}

function formatOf(value: unknown): ArchiveFormat {
  const from = fields(value);
  if (from.kind === 'squashfs') return { kind: 'squashfs' };
  if (from.kind !== 'tar') return unexpected('format');
  return { kind: 'tar', compression: oneOf(compressions, from.compression, 'compression') };
}

function cacheOf(value: unknown): ArchiveCache {
  const from = fields(value);
  return { folder: text(from.folder, 'folder'), mostBytes: whole(from.mostBytes, 'mostBytes') };
}

function portOf(value: unknown): MessagePort {
  return value instanceof MessagePort ? value : unexpected('port');
}

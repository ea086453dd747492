import type { Extent } from '../../extents.js';
import { type Failure, parseFailure } from '../../port/failure.js';
import { fields, flag, items, unexpected, whole } from '../../port/fields.js';

/** What the user of a disk asks through its port. `memory` travels with the read, and back with what was read. */
export type DiskRequest =
  | {
      readonly kind: 'read';
      readonly id: number;
      readonly offset: number;
      readonly length: number;
      readonly memory: ArrayBuffer | undefined;
    }
  | { readonly kind: 'extents'; readonly id: number; readonly offset: number; readonly length: number }
  | { readonly kind: 'abort'; readonly id: number };

/** What the disk's owner answers. */
export type DiskAnswer =
  | { readonly kind: 'read'; readonly id: number; readonly memory: ArrayBuffer }
  | { readonly kind: 'extents'; readonly id: number; readonly extents: readonly Extent[] }
  | { readonly kind: 'failure'; readonly id: number; readonly failure: Failure };

export function parseDiskRequest(message: unknown): DiskRequest {
  const from = fields(message);
  const id = whole(from.id, 'id');
  if (from.kind === 'abort') return { kind: 'abort', id };
  const offset = whole(from.offset, 'offset');
  const length = whole(from.length, 'length');
  if (from.kind === 'extents') return { kind: 'extents', id, offset, length };
  if (from.kind !== 'read') return unexpected('kind');
  if (from.memory === undefined) return { kind: 'read', id, offset, length, memory: undefined };
  return { kind: 'read', id, offset, length, memory: memoryOf(from.memory, length) };
}

/** `lengthOf` tells how many bytes were asked for by a read that is still waited for. */
export function parseDiskAnswer(message: unknown, lengthOf: (id: number) => number): DiskAnswer {
  const from = fields(message);
  const id = whole(from.id, 'id');
  switch (from.kind) {
    case 'read':
      return { kind: 'read', id, memory: memoryOf(from.memory, lengthOf(id)) };
    case 'extents':
      return { kind: 'extents', id, extents: items(from.extents, 'extents').map(parseExtent) };
    case 'failure':
      return { kind: 'failure', id, failure: parseFailure(from.failure) };
    default:
      return unexpected('kind');
  }
}

function memoryOf(value: unknown, atLeast: number): ArrayBuffer {
  if (!(value instanceof ArrayBuffer) || value.byteLength < atLeast) return unexpected('memory');
  return value;
}

function parseExtent(value: unknown): Extent {
  const from = fields(value);
  return {
    offset: whole(from.offset, 'offset'),
    length: whole(from.length, 'length'),
    zero: flag(from.zero, 'zero'),
    dirty: flag(from.dirty, 'dirty'),
  };
}

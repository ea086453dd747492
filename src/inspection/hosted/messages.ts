import { MessagePort } from 'node:worker_threads';
import type { PortDiskFacts } from '../../disks/port/port-disk.js';
import { type FileSystemFacts, fileSystemKinds } from '../../filesystems/file-system.js';
import type { Name } from '../../name.js';
import { bytesOnly, type Fields, fields, items, oneOf, text, unexpected, whole } from '../../port/fields.js';
import type { FoundVolume, VolumeContent } from '../found-volume.js';
import type { GuestMount, GuestSystem } from '../guest-system.js';

/** A disk as the worker reads it. */
export interface DiskTask {
  readonly name: Name;
  /** Through which the disk's bytes are read (`serveDisk`). */
  readonly port: MessagePort;
  readonly facts: PortDiskFacts;
}

/** What the worker of one guest's disks is asked for. The first request is `open`, and comes once. */
export type InspectionRequest =
  | {
      readonly kind: 'open';
      readonly disks: readonly DiskTask[];
      /** Through which sentences are told about what can't be shown. */
      readonly told: MessagePort;
    }
  | { readonly kind: 'system' }
  /** The tree of a volume, to be served through a port (`serveTree`). */
  | { readonly kind: 'tree'; readonly volume: number; readonly port: MessagePort };

export function parseRequest(value: unknown): InspectionRequest {
  const from = fields(value);
  switch (from.kind) {
    case 'open':
      return { kind: 'open', disks: items(from.disks, 'disks').map(parseDisk), told: portOf(from.told) };
    case 'system':
      return { kind: 'system' };
    case 'tree':
      return { kind: 'tree', volume: whole(from.volume, 'volume'), port: portOf(from.port) };
    default:
      return unexpected('kind');
  }
}

export function parseVolumes(value: unknown): FoundVolume[] {
  return items(value, 'volumes').map((item) => {
    const from = fields(item);
    return {
      path: parsePath(from.path),
      size: from.size === undefined ? undefined : whole(from.size, 'size'),
      content: parseContent(fields(from.content)),
      ...(from.partitionUuid !== undefined && { partitionUuid: text(from.partitionUuid, 'partitionUuid') }),
      ...(from.partitionLabel !== undefined && {
        partitionLabel: text(from.partitionLabel, 'partitionLabel'),
      }),
      ...(from.partition !== undefined && { partition: parsePartition(fields(from.partition)) }),
      ...(from.logical !== undefined && { logical: parseLogical(fields(from.logical)) }),
    };
  });
}

export function parseSystem(value: unknown): GuestSystem {
  const from = fields(value);
  switch (from.kind) {
    case 'unix':
      return { kind: 'unix', root: whole(from.root, 'root'), mounts: parseMounts(from.mounts) };
    case 'windows':
      return { kind: 'windows', drives: parseMounts(from.drives) };
    case 'none':
      return { kind: 'none' };
    default:
      return unexpected('system');
  }
}

function parseMounts(value: unknown): GuestMount[] {
  return items(value, 'mounts').map((item) => {
    const from = fields(item);
    return { path: parsePath(from.path), volume: whole(from.volume, 'volume') };
  });
}

function parsePath(value: unknown): Name[] {
  return items(value, 'path').map((name) => bytesOnly(name, 'path'));
}

function parsePartition(from: Fields): { readonly disk: Name; readonly number: number } {
  return { disk: bytesOnly(from.disk, 'disk'), number: whole(from.number, 'number') };
}

function parseLogical(from: Fields): { readonly group: string; readonly volume: string } {
  return { group: text(from.group, 'group'), volume: text(from.volume, 'volume') };
}

function parseContent(from: Fields): VolumeContent {
  switch (from.kind) {
    case 'file system':
      return { kind: 'file system', facts: parseFacts(fields(from.facts)) };
    case 'other':
      return {
        kind: 'other',
        type: text(from.type, 'type'),
        description: text(from.description, 'description'),
      };
    case 'unknown':
      return { kind: 'unknown' };
    case 'unreadable':
      return {
        kind: 'unreadable',
        reason: from.reason === undefined ? undefined : text(from.reason, 'reason'),
      };
    default:
      return unexpected('content');
  }
}

function parseFacts(from: Fields): FileSystemFacts {
  return {
    kind: oneOf(fileSystemKinds, from.kind, 'file system'),
    ...(from.uuid !== undefined && { uuid: text(from.uuid, 'uuid') }),
    ...(from.label !== undefined && { label: text(from.label, 'label') }),
  };
}

function parseDisk(value: unknown): DiskTask {
  const from = fields(value);
  const facts = fields(from.facts);
  return {
    name: bytesOnly(from.name, 'name'),
    port: portOf(from.port),
    facts: {
      size: whole(facts.size, 'size'),
      name: text(facts.name, 'name'),
      descriptor: facts.descriptor === undefined ? undefined : whole(facts.descriptor, 'descriptor'),
    },
  };
}

function portOf(value: unknown): MessagePort {
  return value instanceof MessagePort ? value : unexpected('port');
}

import type { FileSystemFacts } from '../filesystems/file-system.js';
import type { Name } from '../name.js';
import type { Signature } from '../volumes/signature.js';

/** A volume of a guest, and what is on it. */
export interface FoundVolume {
  /** Where it stands in `files/`. */
  readonly path: readonly Name[];
  /** Bytes. Undefined: it can't be read. */
  readonly size: number | undefined;
  readonly content: VolumeContent;
  readonly partitionUuid?: string;
  readonly partitionLabel?: string;
  readonly partition?: { readonly disk: Name; readonly number: number };
  readonly logical?: { readonly group: string; readonly volume: string };
}

export type VolumeContent =
  | { readonly kind: 'file system'; readonly facts: FileSystemFacts }
  /** Something that is known, and not read: LUKS, swap… */
  | ({ readonly kind: 'other' } & Signature)
  | { readonly kind: 'unknown' }
  /** Without a reason: the one that was told when the volume was found. */
  | { readonly kind: 'unreadable'; readonly reason: string | undefined };

/** The path as a person writes it. */
export function volumeText({ path }: { readonly path: readonly Name[] }): string {
  return path.map((name) => Buffer.from(name, 'latin1').toString('utf8')).join('/');
}

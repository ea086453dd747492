import { type Compression, compressionOfTar } from './compressed/compression.js';

/** What a container's files can be kept in, in one file. */
export type ArchiveFormat =
  | { readonly kind: 'tar'; readonly compression: Compression }
  | { readonly kind: 'squashfs' };

/** The archive that a file's name tells of: its content, which a guest may have chosen, says nothing. */
export function archiveFormatOf(name: string): ArchiveFormat | undefined {
  if (/\.(sqfs|squashfs)$/.test(name)) return { kind: 'squashfs' };
  const compression = compressionOfTar(name);
  return compression && { kind: 'tar', compression };
}

/** A tar archive's name without what tells its format. */
export function archiveStem(name: string): string {
  return name.replace(/\.(sqfs|squashfs|tar(\.[a-z0-9]+)?|t[a-z]+2?)$/, '');
}

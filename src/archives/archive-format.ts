import type { Compression } from './compressed/compression.js';

/** What a container's files can be kept in, in one file. */
export type ArchiveFormat =
  | { readonly kind: 'tar'; readonly compression: Compression }
  | { readonly kind: 'squashfs' };

const tar = (compression: Compression): ArchiveFormat => ({ kind: 'tar', compression });

const endings: ReadonlyArray<readonly [RegExp, ArchiveFormat]> = [
  [/\.tar$/, tar('none')],
  [/\.(tar\.gz|tgz)$/, tar('gzip')],
  [/\.(tar\.zst|tzst)$/, tar('zstd')],
  [/\.(tar\.xz|txz)$/, tar('xz')],
  [/\.(tar\.bz2|tbz2?)$/, tar('bzip2')],
  [/\.tar\.lz4$/, tar('lz4')],
  [/\.(sqfs|squashfs)$/, { kind: 'squashfs' }],
];

/**
 * The archive that a file's name tells of, and the name without its ending; undefined: it is none. Its content says
 * nothing: a guest may have chosen it.
 */
export function archiveOfFileName(
  name: string,
): { readonly stem: string; readonly format: ArchiveFormat } | undefined {
  for (const [ending, format] of endings) {
    const at = name.search(ending);
    if (at !== -1) return { stem: name.slice(0, at), format };
  }
  return undefined;
}

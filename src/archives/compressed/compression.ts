/** How an archive's bytes are packed. */
export type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2' | 'lz4';

/** A compression whose bytes an ordinary program unpacks, and how: from stdin to stdout, within bounded memory. */
export const programOf: Readonly<Record<Exclude<Compression, 'none' | 'gzip'>, readonly string[]>> = {
  // Windows of up to 128 MiB, as `zstd --long` makes them.
  zstd: ['zstd', '-d', '-c', '-q', '--long=27'],
  xz: ['xz', '-d', '-c', '-q', '--memlimit-decompress=512MiB'],
  bzip2: ['bzip2', '-d', '-c', '-q'],
  lz4: ['lz4', '-d', '-c', '-q'],
};

/** The bytes of a tar archive as its members lie in them: the file's own, or what a compressed file holds. */
export interface ArchiveBytes {
  /** Bytes. */
  readonly size: number;
  /** As `Disk.read`: the whole of `target`, or a failure (EIO: the bytes are damaged or missing). */
  read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

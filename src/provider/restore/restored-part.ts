/** Something that is being restored. It is beside its place until all of the restore has succeeded. */
export interface RestoredPart {
  /** Where it will be. */
  readonly path: string;
  /** Puts it in its place, durably. What is restored lies on the disk already. */
  commit(): Promise<void>;
  /** Takes away what was written. */
  discard(): Promise<void>;
}

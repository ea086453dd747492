/** How far a part of a job (a disk, an archive) has come, in bytes. */
export interface PartProgress {
  readonly part: string;
  readonly done: number;
  /** Undefined where nobody knows. */
  readonly total?: number;
}

/** What two trees may differ in. */
export type Aspect =
  | 'presence'
  | 'type'
  | 'permissions'
  | 'uid'
  | 'gid'
  | 'size'
  | 'modified'
  | 'accessed'
  | 'changed'
  | 'blocks'
  | 'links'
  | 'device'
  | 'target'
  | 'xattrs'
  | 'contents'
  | 'holes'
  | 'readable';

/** One thing that is not the same in both trees. */
export interface Difference {
  /** Below the roots, one char a byte, `.` for the roots themselves. */
  readonly path: string;
  readonly aspect: Aspect;
  readonly expected: string;
  readonly actual: string;
}

export interface ComparisonOptions {
  /** Whether files must have their holes at the same places. Default: ignore. */
  readonly holes?: 'same' | 'ignore';
  /** Whether folders must have the same st_size and st_nlink, which hang on the file system. Default: ignore. */
  readonly folders?: 'same' | 'ignore';
  /** Whether files must have the same st_blocks, st_atime and st_ctime, which a copy can't keep. Default: ignore. */
  readonly inodes?: 'same' | 'ignore';
  /** Whether bytes are read. Default: read. */
  readonly contents?: 'read' | 'ignore';
  /** So many differences end the comparison. Default: 100. */
  readonly most?: number;
}

/** Answers an operation that has nothing to tell but how it went: 0 or a negative errno; of a read or a write, how many bytes. */
export type Done = (result: number) => void;

/** The same, with what was asked for where the result is 0. */
export type DoneWith<T> = (result: number, value?: T) => void;

/** The rows of a folder: a name, and its stat words, at the same place in both. */
export interface Rows {
  readonly names: string[];
  readonly words: Uint32Array[];
}

/** What statfs(2) tells; every number fits into 32 bits. */
export interface FileSystemWords {
  readonly bsize: number;
  readonly frsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly namemax: number;
}

/**
 * What `MendedFuse` asks for. Paths begin with `/` and are below the mountpoint; handles are what `open` gave, 0 for
 * none. Each call is answered exactly once, and does not throw: a thread of libfuse stands still until then.
 */
export interface Operations {
  getattr(path: string, done: DoneWith<Uint32Array>): void;
  fgetattr(path: string, handle: number, done: DoneWith<Uint32Array>): void;
  readlink(path: string, done: DoneWith<string>): void;
  readdir(path: string, done: DoneWith<Rows>): void;
  /** `room`: how many bytes the caller takes; 0 asks how many there are. The result is the length. */
  getxattr(path: string, name: string, room: number, done: DoneWith<Uint8Array>): void;
  listxattr(path: string, room: number, done: DoneWith<Uint8Array>): void;
  statfs(path: string, done: DoneWith<FileSystemWords>): void;

  open(path: string, flags: number, done: DoneWith<number>): void;
  /** `target` is libfuse's memory: it may be written to only before the answer. */
  read(path: string, handle: number, target: Uint8Array, length: number, offset: number, done: Done): void;
  /** `bytes` is libfuse's memory: it may be read only before the answer. */
  write(path: string, handle: number, bytes: Uint8Array, length: number, offset: number, done: Done): void;
  fsync(path: string, dataOnly: number, handle: number, done: Done): void;
  release(path: string, handle: number, done: Done): void;
  truncate(path: string, size: number, done: Done): void;
  ftruncate(path: string, handle: number, size: number, done: Done): void;
  mkdir(path: string, permissions: number, done: Done): void;
  rmdir(path: string, done: Done): void;
}

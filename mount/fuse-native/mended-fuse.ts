import { constants } from 'node:os';
import Fuse from 'fuse-native';
import type { Operations } from './native-operations.js';

// The package's own way hands the path to a shell, and ends whatever is mounted there by then. Mounts are ended by us;
// what is left for it to do is to let the event loop go.
Fuse.unmount = (_mountpoint, done) => done(null);

/** What would change a mount in ways that nothing in it allows. Left out, they would be "not implemented" to a user. */
const refused = [
  'create',
  'mknod',
  'unlink',
  'rename',
  'link',
  'symlink',
  'chmod',
  'chown',
  'utimens',
  'setxattr',
  'removexattr',
];

function refuse(...values: unknown[]): void {
  const done = values.at(-1);
  if (typeof done === 'function') done(-constants.errno.EROFS);
}

/**
 * The package's class with what is wrong in 2.2.6 put right: fgetattr that asks for the path instead of the open file,
 * attributes that are told without the room there is for them (more than fits makes libfuse read past its memory),
 * millions of arrays for a listing, mount options that it does not know, and its timer, which lets go of memory that a
 * read still writes to. Its mending relies on the package's inner methods, so its version is pinned.
 */
export class MendedFuse extends Fuse {
  readonly #operations: Operations;
  readonly #mountOptions: readonly string[];

  constructor(mountpoint: string, mountOptions: readonly string[], operations: Operations) {
    const all = { ...operations, ...Object.fromEntries(refused.map((name) => [name, refuse])) };
    super(mountpoint, all, { timeout: false });
    this.#operations = operations;
    this.#mountOptions = mountOptions;
  }

  /** How many threads libfuse has started so far. */
  get threads(): number {
    return this._threads.size;
  }

  protected override _fuseOptions(): string {
    return `-o${this.#mountOptions.join(',')}`;
  }

  protected override _op_getattr(signal: Fuse.Signal, path: string): void {
    this.#operations.getattr(path, signal);
  }

  protected override _op_fgetattr(signal: Fuse.Signal, path: string, handle: number): void {
    this.#operations.fgetattr(path, handle, signal);
  }

  protected override _op_readdir(signal: Fuse.Signal, path: string): void {
    this.#operations.readdir(path, (result, rows) => signal(result, rows?.names ?? [], rows?.words ?? []));
  }

  protected override _op_getxattr(signal: Fuse.Signal, path: string, name: string, room: Buffer): void {
    this.#operations.getxattr(path, name, room.length, (result, value) =>
      signal(result, filled(room, value)),
    );
  }

  protected override _op_listxattr(signal: Fuse.Signal, path: string, room: Buffer): void {
    this.#operations.listxattr(path, room.length, (result, value) => signal(result, filled(room, value)));
  }
}

/** What the package's native part detaches from libfuse's memory at the answer. */
function filled(room: Buffer, value: Uint8Array | undefined): ArrayBufferLike {
  // Room of 0 bytes is detached from the start: nothing at all may be written there.
  if (value && value.length > 0 && value.length <= room.length) room.set(value);
  return room.buffer;
}

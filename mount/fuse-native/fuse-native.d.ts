/** The part of fuse-native 2.2.6 that is used here; the package has no types of its own. */
declare module 'fuse-native' {
  namespace Fuse {
    /** Answers an operation: a negative errno, 0, or for reads and writes the number of bytes; then what was asked for. */
    type Signal = (result: number, ...values: unknown[]) => void;
  }

  class Fuse {
    constructor(
      mountpoint: string,
      operations: object,
      /** `timeout: false`: the package sets no timer of its own. */
      options: { readonly timeout: false },
    );

    /** Calls back when the kernel's INIT has been answered. */
    mount(done: (error: Error | null) => void): void;
    /** Ends the mount with `Fuse.unmount`, and lets the event loop go. */
    unmount(done: (error: Error | null) => void): void;
    static unmount: (mountpoint: string, done: (error: Error | null) => void) => void;

    /** What one thread of libfuse shares with JavaScript; the package never frees one. */
    protected readonly _threads: ReadonlySet<Uint8Array>;
    /** The argument that libfuse gets: `-o` and the options, 1023 bytes at most. */
    protected _fuseOptions(): string;
    protected _op_getattr(signal: Fuse.Signal, path: string): void;
    protected _op_fgetattr(signal: Fuse.Signal, path: string, handle: number): void;
    protected _op_readdir(signal: Fuse.Signal, path: string): void;
    protected _op_getxattr(signal: Fuse.Signal, path: string, name: string, room: Buffer): void;
    protected _op_listxattr(signal: Fuse.Signal, path: string, room: Buffer): void;
  }

  export = Fuse;
}

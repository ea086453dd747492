import { serverAnswers } from '../../posix/statx.js';

const patienceMilliseconds = 1000;
const known = new Map<string, FleecingFolder>();

/**
 * Where fleecing images are, perhaps on a server, which may hang. QEMU 7.2 asks the file system of an image how much that takes up
 * where it is asked for its nodes, and waits for all writes to it where it is stopped; its main loop waits then, and so does the guest.
 * So while the server is silent QEMU is told no such thing. What it copies there waits in threads of its own, up to `cbw-timeout`.
 */
export class FleecingFolder {
  #asked: { readonly at: number; readonly answer: Promise<void> } | undefined;

  private constructor(readonly path: string) {}

  /** One for each path: whoever asks a server that hangs keeps a thread of the pool waiting. */
  static at(path: string): FleecingFolder {
    const folder = known.get(path) ?? new FleecingFolder(path);
    known.set(path, folder);
    return folder;
  }

  /** Whether the file system answers within a second, whatever it says. */
  async answers(): Promise<boolean> {
    this.#asked ??= { at: performance.now(), answer: this.#ask() };
    const { answer } = this.#asked;
    let late: NodeJS.Timeout | undefined;
    const silence = new Promise<false>((resolve) => {
      late = setTimeout(() => resolve(false), patienceMilliseconds);
    });
    try {
      return await Promise.race([answer.then(() => true), silence]);
    } finally {
      clearTimeout(late);
    }
  }

  /** How long it has owed an answer, in milliseconds. */
  get silentMilliseconds(): number {
    return this.#asked ? performance.now() - this.#asked.at : 0;
  }

  /** A sentence about one that does not answer. */
  get silence(): string {
    return `the fleecing folder ${this.path} does not answer`;
  }

  /** Why QEMU is left alone meanwhile. */
  get danger(): string {
    return `${this.silence}, and QEMU would wait for it, and the guest with QEMU`;
  }

  async #ask(): Promise<void> {
    // A folder that is gone is an answer, too.
    await serverAnswers(this.path).catch(() => undefined);
    this.#asked = undefined;
  }
}

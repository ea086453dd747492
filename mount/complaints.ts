import { LRUCache } from 'lru-cache';
import { codeOf, hasCode, messageOf, StillError } from '../src/errors.js';
import type { Logger } from '../src/log.js';

/** The same complaint is written to the log once in this time, in milliseconds. */
const interval = 60_000;
/** How many different complaints are remembered. */
const remembered = 256;

/** What a mount's log says of operations that failed: what an administrator has to know of, once in a while. */
export class Complaints {
  readonly #log: Logger;
  readonly #said = new LRUCache<string, true>({ max: remembered, ttl: interval });

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * An operation on a path failed. What a caller may expect (ENOENT, EROFS…) is not worth a line; an EIO is, and what
   * nobody expected is a fault of ours, told with its stack.
   */
  failed(operation: string, path: () => string, error: unknown): void {
    const expected = error instanceof StillError || (error instanceof Error && 'code' in error);
    const usual = expected && !hasCode(error, 'EIO');
    // Some of these come with every file that is looked at (no such attribute): no sentence is made that nobody reads.
    if (usual && !this.#log.isLevelEnabled('debug')) return;
    const sentence = `${operation} of ${path()} failed: ${messageOf(error)}`;
    if (usual) {
      this.#log.debug(sentence);
      return;
    }
    if (expected) {
      this.once(sentence, { code: codeOf(error) });
      return;
    }
    this.#log.error({ stack: error instanceof Error ? error.stack : undefined }, sentence);
  }

  /** Warns, but not again and again. */
  once(sentence: string, details: Readonly<Record<string, unknown>> = {}): void {
    if (this.#said.has(sentence)) return;
    this.#said.set(sentence, true);
    this.#log.warn(details, sentence);
  }
}

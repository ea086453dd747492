import type { StillError } from '../../errors.js';
import { Coverage } from './coverage.js';
import { broken, Command, type StatusRun } from './protocol.js';
import { ESHUTDOWN, refusal } from './refusal.js';

/** More errors in one reply than a server has reason to send. */
const mostErrors = 1024;

/** What a reply brought: status runs, by the number of their context. Empty for what is no block status. */
export type Answer = ReadonlyMap<number, readonly StatusRun[]>;

/** One request that the server has, and as much of its reply as has come. */
export class Request {
  readonly type: number;
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
  readonly #target: Uint8Array | undefined;
  readonly #coverage: Coverage | undefined;
  readonly #runs = new Map<number, readonly StatusRun[]>();
  #errors = 0;
  #error: StillError | undefined;
  #shuttingDown = false;

  /** `target`: where a read's bytes go; it has the request's length. */
  constructor(type: number, offset: number, length: number, target?: Uint8Array) {
    this.type = type;
    this.offset = offset;
    this.length = length;
    this.#target = target;
    this.#coverage = target && new Coverage(length);
  }

  /** What the server refused it with. */
  get error(): StillError | undefined {
    return this.#error;
  }

  /** Whether the server said that it is about to go. */
  get shuttingDown(): boolean {
    return this.#shuttingDown;
  }

  get answer(): Answer {
    return this.#runs;
  }

  /** The part of a read's target that bytes are for which come now. EIO where they are none of it. */
  part(offset: number, length: number): Uint8Array {
    const at = offset - this.offset;
    if (!this.#target || !this.#coverage) throw broken('data that nobody asked for');
    this.#coverage.add(at, length);
    return this.#target.subarray(at, at + length);
  }

  takeRuns(context: number, runs: readonly StatusRun[]): void {
    if (this.type !== Command.blockStatus) throw broken('block status that nobody asked for');
    if (this.#runs.has(context)) throw broken('block status of one context twice');
    this.#runs.set(context, runs);
  }

  refuse(error: number, said: string, at?: number): void {
    if (at !== undefined && (at < this.offset || at > this.offset + this.length))
      throw broken('an error outside the request');
    this.#errors++;
    if (this.#errors > mostErrors) throw broken('errors without end');
    this.#shuttingDown ||= error === ESHUTDOWN;
    this.#error ??= refusal(this, error, said, at);
  }

  /** Whether all that the request was for has come. */
  get complete(): boolean {
    return this.#coverage?.complete ?? true;
  }
}

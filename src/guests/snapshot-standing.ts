import { StillError } from '../errors.js';
import type { Logger } from '../log.js';
import type { Outcome } from './guest.js';

/** How a snapshot stands: what was said of it, and, once it is broken, why it can't be read any more. */
export class SnapshotStanding {
  #outcome: Outcome = 'pending';
  #problems: readonly string[] = [];
  #broken: string | undefined;

  /** `folder`: the snapshot's, as its user calls it. */
  constructor(
    private readonly guest: string,
    private readonly folder: string,
    private readonly log: Logger,
  ) {}

  get outcome(): Outcome {
    return this.#outcome;
  }

  /** One sentence for each thing that can't be shown: the same array as long as they are the same. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** Why nothing of the snapshot can be read any more; undefined while it can. */
  get broken(): string | undefined {
    return this.#broken;
  }

  /** EIO where it is broken. */
  mustBeReadable(): void {
    if (this.#broken === undefined) return;
    throw new StillError('EIO', `${this.folder} can't be read: ${this.#broken}`);
  }

  /** Takes a word, once it is recorded. EIO: success of what is known to be broken. */
  async say(
    outcome: 'success' | 'failure',
    record: (outcome: 'success' | 'failure') => Promise<void> = async () => undefined,
  ): Promise<void> {
    if (outcome === 'success') this.#mustBeWhole();
    await record(outcome);
    // It may have broken while that was written: then the writer is not to believe it.
    if (outcome === 'success' && this.#broken !== undefined) {
      await record('failure');
      this.#mustBeWhole();
    }
    this.#outcome = outcome;
    this.log.info({ guest: this.guest, snapshot: this.folder }, `outcome: ${outcome}`);
  }

  /** Notes that it is broken, which is a failure unless success was said before. False: it was noted already. */
  breakOff(reason: string): boolean {
    if (this.#broken !== undefined) return false;
    this.#broken = reason;
    this.#problems = [reason];
    if (this.#outcome !== 'success') this.#outcome = 'failure';
    this.log.warn({ guest: this.guest, snapshot: this.folder }, `the snapshot is broken: ${reason}`);
    return true;
  }

  /** From now on nothing can be read: that is no problem, for the snapshot has ended. */
  end(): void {
    this.#broken ??= 'the snapshot has ended';
  }

  #mustBeWhole(): void {
    if (this.#broken === undefined) return;
    throw new StillError('EIO', `${this.folder} can't have succeeded: ${this.#broken}`);
  }
}

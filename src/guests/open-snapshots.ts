import { messageOf, StillError } from '../errors.js';
import { joinSignals } from '../joined-signal.js';
import type { Logger } from '../log.js';
import type { Snapshot, SnapshotName } from './guest.js';

/** The snapshots of a guest that are open: one at a time, taken within a deadline, told of to whoever watches. */
export class OpenSnapshots<Taken extends Snapshot> {
  readonly #guest: string;
  readonly #log: Logger;
  readonly #takeMilliseconds: number;
  readonly #listeners = new Set<(snapshot: Snapshot) => void>();
  readonly #closing = new AbortController();
  #all: readonly Taken[] = [];
  #busy: string | undefined;

  constructor(guest: string, takeMilliseconds: number, log: Logger) {
    this.#guest = guest;
    this.#takeMilliseconds = takeMilliseconds;
    this.#log = log;
  }

  /** The same array as long as they are the same. */
  get all(): readonly Taken[] {
    return this.#all;
  }

  /** Whether no more snapshots are taken, because the mount ends. */
  get closing(): boolean {
    return this.#closing.signal.aborted;
  }

  watch(listener: (snapshot: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** To be called when a snapshot says something else of itself. */
  tell(snapshot: Snapshot): void {
    for (const listener of this.#listeners) listener(snapshot);
  }

  /** To be called when a snapshot ends: its name is free. */
  forget(snapshot: Snapshot): void {
    this.#all = this.#all.filter((other) => other !== snapshot);
    this.tell(snapshot);
  }

  /** EEXIST: there is one of that name; EBUSY: another is open; ETIMEDOUT. What `taking` has begun it undoes when it is aborted. */
  async take(
    name: SnapshotName,
    signal: AbortSignal,
    taking: (signal: AbortSignal) => Promise<Taken>,
  ): Promise<Taken> {
    const guest = this.#guest;
    if (this.#all.some((other) => other.name.folder === name.folder))
      throw new StillError('EEXIST', `guest ${guest} has a snapshot ${name.folder} already`);
    const open = this.#all[0]?.name.folder ?? this.#busy;
    if (open !== undefined)
      throw new StillError('EBUSY', `guest ${guest} has the snapshot ${open}; end it first`);
    this.#busy = name.folder;
    const deadline = new AbortController();
    const late = `guest ${guest} gave no snapshot within ${this.#takeMilliseconds} ms`;
    const timer = setTimeout(() => deadline.abort(new StillError('ETIMEDOUT', late)), this.#takeMilliseconds);
    const joined = joinSignals(signal, deadline.signal, this.#closing.signal);
    try {
      const snapshot = await taking(joined.signal);
      this.#all = [snapshot];
      this.tell(snapshot);
      return snapshot;
    } catch (error) {
      this.#log.warn({ guest, snapshot: name.folder }, `no snapshot was taken: ${messageOf(error)}`);
      throw error;
    } finally {
      joined.part();
      clearTimeout(timer);
      this.#busy = undefined;
    }
  }

  /** Ends every one; what is left of them is logged. */
  async close(): Promise<void> {
    this.#closing.abort(new StillError('ECANCELED', 'the mount ends'));
    for (const snapshot of this.#all) {
      try {
        await snapshot.end();
      } catch (error) {
        this.#log.warn({ guest: this.#guest }, messageOf(error));
      }
    }
  }
}

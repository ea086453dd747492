import { messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { GuestState } from './guest-state.js';
import { recordedSnapshots, removeStrays } from './record-file.js';

/** How long the keepers of a daemon that died may take to end. */
const lockMilliseconds = 30_000;

/**
 * That this daemon alone works on a guest's snapshots: it has the lock of the guest's state folder, and has ended, or is
 * ending, what is recorded there and not its own.
 */
export abstract class Custody {
  readonly #stateFolder: string;
  readonly #closing = new AbortController();
  #state: Promise<GuestState> | undefined;

  constructor(
    protected readonly guest: string,
    stateFolder: string,
    protected readonly log: Logger,
  ) {
    this.#stateFolder = stateFolder;
  }

  /** The guest's state, locked; EBUSY where another stillfs has it, and then it may be asked for again. */
  state(): Promise<GuestState> {
    if (!this.#state) {
      const taking = this.#takeOver();
      this.#state = taking;
      taking.catch(() => {
        if (this.#state === taking) this.#state = undefined;
      });
    }
    return this.#state;
  }

  /** The same, with nothing left of earlier snapshots. EBUSY, with what is left: it can't be mended at present. */
  async mended(): Promise<GuestState> {
    const state = await this.state();
    for (const id of await recordedSnapshots(state.folder)) {
      const left = await this.endRecorded(state, id);
      if (left.length === 0) continue;
      const what = `an earlier snapshot of guest ${this.guest} is not ended`;
      throw new StillError('EBUSY', `${what}: ${left.join('; ')}`);
    }
    return state;
  }

  /** Keepers that still have something to do keep the lock. */
  async close(): Promise<void> {
    this.#closing.abort(new StillError('ECANCELED', 'the mount ends'));
    await this.#state?.then(
      (state) => state.close(),
      () => undefined,
    );
  }

  /** Ends a recorded snapshot by its outcome, and says what is left: then its record stays. */
  protected abstract endRecorded(state: GuestState, id: string): Promise<readonly string[]>;

  async #takeOver(): Promise<GuestState> {
    const { signal } = this.#closing;
    const state = await GuestState.open(this.#stateFolder, this.guest, lockMilliseconds, signal);
    // What is asked for meanwhile waits for `state`, so that nobody else ends these.
    for (const id of await recordedSnapshots(state.folder)) {
      const left = await this.endRecorded(state, id).catch((error: unknown) => [messageOf(error)]);
      this.log.warn({ guest: this.guest, id, left }, 'ended a snapshot that was left by an earlier daemon');
    }
    await removeStrays(state.folder);
    return state;
  }
}

import { messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { Keeper } from './keeper/keeper.js';
import { GuestState } from './state/guest-state.js';
import { recordedSnapshots, removeStrays, SnapshotFile } from './state/snapshot-file.js';

/** How long the keepers of a daemon that died may take to end. */
const lockMilliseconds = 30_000;
/** How many keepers are started one after another where they are killed at it. */
const mostKeepers = 5;

/**
 * That this daemon alone works on a guest's snapshots: it has the lock of the guest's state folder, and has ended, or is
 * ending, what is recorded there and not its own.
 */
export class Custody {
  readonly #guest: string;
  readonly #stateFolder: string;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  /** Keepers that end what an earlier daemon, or an attempt that failed, has left. */
  readonly #mending = new Map<string, Keeper>();
  #state: Promise<GuestState> | undefined;

  constructor(guest: string, stateFolder: string, log: Logger) {
    this.#guest = guest;
    this.#stateFolder = stateFolder;
    this.#log = log;
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

  /**
   * The same, with nothing left to be mended: a guest that was off may have bitmaps to be settled, one that did not
   * answer more than that. EBUSY, with what is left.
   */
  async mended(): Promise<GuestState> {
    const state = await this.state();
    for (const id of await recordedSnapshots(state.folder)) {
      const left = await this.end(new SnapshotFile(state.folder, id));
      if (left.length === 0) continue;
      const what = `an earlier snapshot of guest ${this.#guest} is not ended`;
      throw new StillError('EBUSY', `${what}: ${left.join('; ')}`);
    }
    return state;
  }

  /**
   * Ends a recorded snapshot by its outcome, and says what is left; its keeper goes on trying. `sockets` are what this daemon has of
   * its connections.
   */
  async end(file: SnapshotFile, sockets: readonly number[] = []): Promise<readonly string[]> {
    return this.#end(await this.state(), file, sockets);
  }

  /** Leaves a snapshot to a keeper, as long as that lives: two at one snapshot would undo each other's work. */
  leave(id: string, keeper: Keeper): void {
    this.#mending.set(id, keeper);
    void keeper.gone.then(() => {
      if (this.#mending.get(id) === keeper) this.#mending.delete(id);
    });
  }

  /** Keepers that still have something to do keep the lock. */
  async close(): Promise<void> {
    this.#closing.abort(new StillError('ECANCELED', 'the mount ends'));
    await this.#state?.then(
      (state) => state.close(),
      () => undefined,
    );
  }

  async #takeOver(): Promise<GuestState> {
    const { signal } = this.#closing;
    const state = await GuestState.open(this.#stateFolder, this.#guest, lockMilliseconds, signal);
    // What is asked for meanwhile waits for `state`, so that nobody else ends these.
    for (const id of await recordedSnapshots(state.folder)) {
      const file = new SnapshotFile(state.folder, id);
      const left = await this.#end(state, file, []).catch((error: unknown) => [messageOf(error)]);
      this.#log.warn({ guest: this.#guest, id, left }, 'ended a snapshot that was left by an earlier daemon');
    }
    await removeStrays(state.folder);
    return state;
  }

  async #end(
    { lock }: GuestState,
    file: SnapshotFile,
    sockets: readonly number[],
  ): Promise<readonly string[]> {
    for (let tried = 1; ; tried++) {
      const record = await file.read();
      if (!record) {
        await file.remove();
        return [];
      }
      if (this.#mending.get(file.id)?.alive) return ['it is still being tried'];
      const keeper = new Keeper(this.#guest, [lock], sockets, this.#log);
      this.leave(file.id, keeper);
      try {
        return (await keeper.end(record)).left;
      } catch (error) {
        // It was killed. The guest may stand still: somebody has to go on.
        if (tried === mostKeepers) throw error;
      }
    }
  }
}

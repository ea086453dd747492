import { Custody } from '../state/custody.js';
import type { GuestState } from '../state/guest-state.js';
import { Keeper } from './keeper/keeper.js';
import { SnapshotFile } from './state/snapshot-file.js';

/** How many keepers are started one after another where they are killed at it. */
const mostKeepers = 5;

/** Custody of a VM's snapshots. They are ended by keepers: those that still try keep the lock. */
export class QemuCustody extends Custody {
  /** Keepers that end what an earlier daemon, or an attempt that failed, has left. */
  readonly #mending = new Map<string, Keeper>();

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

  protected endRecorded(state: GuestState, id: string): Promise<readonly string[]> {
    return this.#end(state, new SnapshotFile(state.folder, id), []);
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
      const keeper = new Keeper(this.guest, [lock], sockets, this.log);
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

import { hasCode, messageOf } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { GuestDescription, GuestFile, GuestSource, Snapshot, SnapshotName } from '../guest.js';
import { guestFiles } from '../guest-files.js';
import { OpenSnapshots } from '../open-snapshots.js';
import { lxcNameOf, readContainer, withConfiguration } from './container.js';
import { LxcCustody } from './custody.js';
import { containerState } from './lxc-programs.js';
import type { LxcSnapshot } from './lxc-snapshot.js';
import type { LxcGuestSettings } from './settings.js';
import { placeText } from './shown-files.js';
import { takeContainer } from './taking.js';

/** A container of LXC's. */
export class LxcGuest implements GuestSource {
  readonly id: string;
  readonly type = 'lxc';
  readonly #settings: LxcGuestSettings;
  readonly #log: Logger;
  readonly #custody: LxcCustody;
  readonly #open: OpenSnapshots<LxcSnapshot>;

  /** Begins at once to remove what an earlier daemon has left of this container's snapshots. */
  constructor(settings: LxcGuestSettings, stateFolder: string, log: Logger) {
    this.id = settings.id;
    this.#settings = settings;
    this.#log = log;
    this.#open = new OpenSnapshots(settings.id, settings.takeMilliseconds, log);
    this.#custody = new LxcCustody(settings.id, stateFolder, log);
    this.#custody.state().catch((error: unknown) => {
      if (!this.#open.closing) log.error({ guest: this.id }, messageOf(error));
    });
  }

  get snapshots(): readonly Snapshot[] {
    return this.#open.all;
  }

  /** `gone` is a container whose configuration is there no more, or that LXC does not have. */
  async describe(signal: AbortSignal): Promise<LxcDescription> {
    const { id } = this;
    const known = { id, type: 'lxc', rootfs: null, mountPoints: [] } as const;
    try {
      const settings = await withConfiguration(this.#settings);
      const container = await readContainer(settings);
      const name = lxcNameOf(settings);
      const { state } = name ? await containerState(name, signal) : { state: 'unknown' };
      return {
        ...known,
        state,
        ...(!name && { reason: 'nobody said what LXC calls the container (name, or conf)' }),
        rootfs: container.rootfs ?? null,
        mountPoints: container.storage.map(({ path, source }) => ({ path: placeText(path), source })),
      };
    } catch (error) {
      signal.throwIfAborted();
      const state = hasCode(error, 'ENOENT') ? 'gone' : 'unknown';
      return { ...known, state, reason: messageOf(error) };
    }
  }

  async configuration(): Promise<readonly GuestFile[]> {
    return filesOf(await withConfiguration(this.#settings));
  }

  watch(listener: (snapshot: Snapshot) => void): () => void {
    return this.#open.watch(listener);
  }

  take(name: SnapshotName, signal: AbortSignal): Promise<Snapshot> {
    return this.#open.take(name, signal, async (limited) => {
      const settings = await withConfiguration(this.#settings);
      const taking = {
        settings,
        custody: this.#custody,
        files: await filesOf(settings),
        log: this.#log,
        changed: (changed: Snapshot) => this.#open.tell(changed),
        gone: (gone: Snapshot) => this.#open.forget(gone),
      };
      return takeContainer(taking, name, limited);
    });
  }

  async close(): Promise<void> {
    await this.#open.close();
    await this.#custody.close();
  }
}

function filesOf({ configuration, firewall }: LxcGuestSettings): Promise<readonly GuestFile[]> {
  return guestFiles(configuration, firewall);
}

interface LxcDescription extends GuestDescription {
  readonly rootfs: string | null;
  /** Storage of its own beside the root file system. */
  readonly mountPoints: ReadonlyArray<{ readonly path: string; readonly source: string }>;
}

import { messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { GuestDescription, GuestFile, GuestSource, Snapshot, SnapshotName } from '../guest.js';
import { guestFiles } from '../guest-files.js';
import { Custody } from './custody.js';
import { describeGuest } from './guest-description.js';
import { OffSnapshot } from './off-snapshot.js';
import type { QemuSnapshot } from './qemu-snapshot.js';
import { Monitor } from './qmp/monitor.js';
import { GuestIsOff } from './qmp/qmp-error.js';
import type { QemuGuestSettings } from './settings.js';
import { type Taking, takeSnapshot } from './taking.js';

/** A virtual machine of QEMU's, reached by its monitor. */
export class QemuGuest implements GuestSource {
  readonly id: string;
  readonly type = 'qemu';
  readonly #settings: QemuGuestSettings;
  readonly #log: Logger;
  readonly #monitor: Monitor;
  readonly #listeners = new Set<(snapshot: Snapshot) => void>();
  readonly #closing = new AbortController();
  readonly #stateFolder: string;
  readonly #custody: Custody;
  #snapshots: ReadonlyArray<QemuSnapshot | OffSnapshot> = [];
  #busy: string | undefined;

  /** Begins at once to end what an earlier daemon has left of this guest's snapshots. */
  constructor(settings: QemuGuestSettings, stateFolder: string, log: Logger) {
    this.id = settings.id;
    this.#settings = settings;
    this.#log = log;
    this.#monitor = new Monitor(settings.monitor, `guest ${settings.id}`);
    this.#stateFolder = stateFolder;
    this.#custody = new Custody(settings.id, stateFolder, log);
    this.#custody.state().catch((error: unknown) => {
      if (!this.#closing.signal.aborted) log.error({ guest: this.id }, messageOf(error));
    });
  }

  get snapshots(): readonly Snapshot[] {
    return this.#snapshots;
  }

  describe(signal: AbortSignal): Promise<GuestDescription> {
    return describeGuest(this.#monitor, this.#settings, this.#stateFolder, signal);
  }

  configuration(): Promise<readonly GuestFile[]> {
    return guestFiles(this.#settings.configuration, this.#settings.firewall);
  }

  watch(listener: (snapshot: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async take(name: SnapshotName, signal: AbortSignal): Promise<Snapshot> {
    const open = this.#snapshots[0]?.name.folder ?? this.#busy;
    if (this.#snapshots.some((other) => other.name.folder === name.folder))
      throw new StillError('EEXIST', `guest ${this.id} has a snapshot ${name.folder} already`);
    if (open !== undefined)
      throw new StillError('EBUSY', `guest ${this.id} has the snapshot ${open}; end it first`);
    this.#busy = name.folder;
    const deadline = new AbortController();
    const { takeMilliseconds } = this.#settings;
    const timer = setTimeout(
      () =>
        deadline.abort(
          new StillError('ETIMEDOUT', `guest ${this.id} gave no snapshot within ${takeMilliseconds} ms`),
        ),
      takeMilliseconds,
    );
    try {
      return await this.#takeAny(name, AbortSignal.any([signal, deadline.signal, this.#closing.signal]));
    } catch (error) {
      this.#log.warn({ guest: this.id, snapshot: name.folder }, `no snapshot was taken: ${messageOf(error)}`);
      if (error instanceof GuestIsOff) throw new StillError('EHOSTUNREACH', error.message, { cause: error });
      throw error;
    } finally {
      clearTimeout(timer);
      this.#busy = undefined;
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new StillError('ECANCELED', 'the mount ends'));
    for (const snapshot of this.#snapshots) {
      try {
        await snapshot.end();
      } catch (error) {
        this.#log.warn({ guest: this.id }, messageOf(error));
      }
    }
    await this.#custody.close();
  }

  async #takeAny(name: SnapshotName, signal: AbortSignal): Promise<Snapshot> {
    const shared = {
      files: await this.configuration(),
      log: this.#log,
      changed: (changed: Snapshot) => this.#tell(changed),
      gone: (gone: Snapshot) => this.#forget(gone),
    };
    const snapshot = await this.#takeRunning(name, shared, signal);
    this.#snapshots = [snapshot];
    this.#tell(snapshot);
    return snapshot;
  }

  /** Of a guest that is off the images are read, where they are known. */
  async #takeRunning(
    name: SnapshotName,
    shared: Pick<Taking, 'files' | 'log' | 'changed' | 'gone'>,
    signal: AbortSignal,
  ): Promise<QemuSnapshot | OffSnapshot> {
    const settings = this.#settings;
    const custody = this.#custody;
    try {
      return await takeSnapshot({ ...shared, settings, custody, monitor: this.#monitor }, name, signal);
    } catch (error) {
      const { id, images } = settings;
      if (!(error instanceof GuestIsOff) || !images) throw error;
      this.#log.info({ guest: id, snapshot: name.folder }, 'the guest is off: its images are read');
      return OffSnapshot.take(
        name,
        { ...shared, id, images, folder: (await custody.state()).folder },
        signal,
      );
    }
  }

  #forget(snapshot: Snapshot): void {
    this.#snapshots = this.#snapshots.filter((other) => other !== snapshot);
    this.#tell(snapshot);
  }

  #tell(snapshot: Snapshot): void {
    for (const listener of this.#listeners) listener(snapshot);
  }
}

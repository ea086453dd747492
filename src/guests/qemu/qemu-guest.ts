import { messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { GuestDescription, GuestFile, GuestSource, Snapshot, SnapshotName } from '../guest.js';
import { guestFiles } from '../guest-files.js';
import { OpenSnapshots } from '../open-snapshots.js';
import { QemuCustody } from './custody.js';
import { describeGuest } from './guest-description.js';
import { OffSnapshot } from './off-snapshot.js';
import type { QemuSnapshot } from './qemu-snapshot.js';
import { Monitor } from './qmp/monitor.js';
import { GuestIsOff } from './qmp/qmp-error.js';
import type { QemuGuestSettings } from './settings.js';
import { takeSnapshot } from './taking.js';

/** A virtual machine of QEMU's, reached by its monitor. */
export class QemuGuest implements GuestSource {
  readonly id: string;
  readonly type = 'qemu';
  readonly #settings: QemuGuestSettings;
  readonly #log: Logger;
  readonly #monitor: Monitor;
  readonly #stateFolder: string;
  readonly #custody: QemuCustody;
  readonly #open: OpenSnapshots<QemuSnapshot | OffSnapshot>;

  /** Begins at once to end what an earlier daemon has left of this guest's snapshots. */
  constructor(settings: QemuGuestSettings, stateFolder: string, log: Logger) {
    this.id = settings.id;
    this.#settings = settings;
    this.#log = log;
    this.#monitor = new Monitor(settings.monitor, `guest ${settings.id}`);
    this.#stateFolder = stateFolder;
    this.#open = new OpenSnapshots(settings.id, settings.takeMilliseconds, log);
    this.#custody = new QemuCustody(settings.id, stateFolder, log);
    this.#custody.state().catch((error: unknown) => {
      if (!this.#open.closing) log.error({ guest: this.id }, messageOf(error));
    });
  }

  get snapshots(): readonly Snapshot[] {
    return this.#open.all;
  }

  describe(signal: AbortSignal): Promise<GuestDescription> {
    return describeGuest(this.#monitor, this.#settings, this.#stateFolder, signal);
  }

  configuration(): Promise<readonly GuestFile[]> {
    return guestFiles(this.#settings.configuration, this.#settings.firewall);
  }

  watch(listener: (snapshot: Snapshot) => void): () => void {
    return this.#open.watch(listener);
  }

  async take(name: SnapshotName, signal: AbortSignal): Promise<Snapshot> {
    try {
      return await this.#open.take(name, signal, (limited) => this.#takeAny(name, limited));
    } catch (error) {
      if (error instanceof GuestIsOff) throw new StillError('EHOSTUNREACH', error.message, { cause: error });
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#open.close();
    await this.#custody.close();
  }

  /** Of a guest that is off the images are read, where they are known. */
  async #takeAny(name: SnapshotName, signal: AbortSignal): Promise<QemuSnapshot | OffSnapshot> {
    const settings = this.#settings;
    const custody = this.#custody;
    const shared = {
      files: await this.configuration(),
      log: this.#log,
      changed: (changed: Snapshot) => this.#open.tell(changed),
      gone: (gone: Snapshot) => this.#open.forget(gone),
    };
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
}

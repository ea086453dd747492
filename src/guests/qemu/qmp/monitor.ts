import { SharedWait } from '../../../shared-wait.js';
import type { WaitLimits } from './bounded-wait.js';
import { QmpConnection } from './connection.js';

interface Lent {
  readonly opening: SharedWait<QmpConnection>;
  connection: QmpConnection | undefined;
  users: number;
}

/**
 * A guest's monitor, at a path. It is connected to only while it is used, for other programs use it too and it serves one at
 * a time; those of this program that use it at once share one connection. One that has ended is opened anew.
 */
export class Monitor {
  #lent: Lent | undefined;

  constructor(
    readonly path: string,
    /** As the sentences of errors name it: `guest 100`. */
    readonly guest: string,
  ) {}

  /** Does some work with a connection, which is not to be kept. Fails as `QmpConnection.connect` and the work do. */
  async use<T>(work: (connection: QmpConnection) => Promise<T>, limits: WaitLimits = {}): Promise<T> {
    if (!this.#lent || this.#lent.opening.abandoned || this.#lent.connection?.ended.aborted)
      this.#lent = this.#open(limits.deadlineMilliseconds);
    const lent = this.#lent;
    lent.users++;
    try {
      return await work(await lent.opening.wait(limits.signal));
    } finally {
      lent.users--;
      if (lent.users === 0) {
        lent.connection?.close();
        if (this.#lent === lent) this.#lent = undefined;
      }
    }
  }

  /** The deadline of the first who comes is that of all who wait with it. */
  #open(deadlineMilliseconds: number | undefined): Lent {
    const opening = new SharedWait(async (signal) => {
      const connection = await QmpConnection.connect(this.path, this.guest, { signal, deadlineMilliseconds });
      if (lent.users === 0) connection.close();
      lent.connection = connection;
      return connection;
    });
    const lent: Lent = { opening, connection: undefined, users: 0 };
    return lent;
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { codeOf, messageOf, StillError } from '../../../errors.js';
import { GuestAgent } from '../agent/guest-agent.js';
import { type Built, build } from '../building.js';
import { queryStatus } from '../qmp/commands/run-state.js';
import { QmpConnection } from '../qmp/connection.js';
import type { SnapshotRecord } from '../snapshot-record.js';
import type { SnapshotFile } from '../state/snapshot-file.js';
import { endConnection } from './connection-end.js';
import { type AtHand, closeAll, type Ending, endSnapshot } from './ending.js';
import type { Order, Report } from './messages.js';

const firstRetryMilliseconds = 1000;
const lastRetryMilliseconds = 60_000;
/** How long an agent may take to say that it is there. */
const pingMilliseconds = 5000;

type Taking = Extract<Order, { kind: 'take' }>;

/**
 * What a keeper does: takes a snapshot, holds on to its sockets, and ends it when it is told so, or when the daemon is gone.
 * Only the keeper speaks with QEMU while the guest stands still, so a daemon that dies leaves nobody frozen.
 */
export class Keeping {
  readonly #fileOf: (record: SnapshotRecord) => SnapshotFile;
  readonly #tell: (report: Report) => void;
  #sockets: readonly number[];
  #record: SnapshotRecord | undefined;
  #taking: { readonly abort: AbortController; readonly done: Promise<'taken' | 'undone'> } | undefined;
  #ending: Promise<void> | undefined;

  /** `sockets`: connections to QEMU's NBD server. */
  constructor(
    fileOf: (record: SnapshotRecord) => SnapshotFile,
    tell: (report: Report) => void,
    sockets: readonly number[],
  ) {
    this.#fileOf = fileOf;
    this.#tell = tell;
    this.#sockets = sockets;
  }

  /** Takes a snapshot and says how that went. Settles with `undone` when nothing of it is left. */
  take(order: Taking): Promise<'taken' | 'undone'> {
    const abort = new AbortController();
    this.#record = order.record;
    const done = this.#take(order, abort.signal);
    this.#taking = { abort, done };
    return done;
  }

  hold(record: SnapshotRecord): void {
    this.#record = record;
  }

  abort(reason: string): void {
    this.#taking?.abort.abort(new StillError('ECANCELED', reason));
  }

  /** Ends the snapshot, and tries again until nothing is left that could be done. */
  end(record?: SnapshotRecord): Promise<void> {
    this.#record ??= record;
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #take(order: Taking, signal: AbortSignal): Promise<'taken' | 'undone'> {
    const { listener, fleecing, record, freezeMilliseconds } = order;
    const guest = `guest ${record.guest}`;
    let connection: QmpConnection | undefined;
    let agent: GuestAgent | undefined;
    try {
      connection = await QmpConnection.connect(record.monitor, guest, { signal });
      // The agent of a guest that stands still says nothing, and has nothing to freeze.
      if (record.agent !== null && (await queryStatus(connection, { signal })).running) {
        agent = await GuestAgent.connect(record.agent, guest, { signal });
        await agent.ping({ signal, deadlineMilliseconds: Math.min(pingMilliseconds, freezeMilliseconds) });
      }
      const built = await build(connection, agent, order, () => this.#note({ pausing: true }), signal);
      await this.#note({ pausing: false, taken: true });
      connection.close();
      agent?.close();
      closeAll([listener, ...fleecing]);
      this.#tell({ kind: 'taken', built: rounded(built) });
      return 'taken';
    } catch (error) {
      // QEMU's own copy of the listener is to be the only one when it is asked who serves there.
      closeAll([listener]);
      const { left } = await this.#tryEnding({ connection, agent });
      closeAll(fleecing);
      this.#tell({ kind: 'refused', code: codeOf(error), message: messageOf(error), left: [...left] });
      if (left.length > 0) await this.#retry();
      return 'undone';
    }
  }

  async #end(): Promise<void> {
    this.abort('the snapshot is given up');
    if ((await this.#taking?.done) === 'undone' || !this.#record) return;
    const { left, owed } = await this.#tryEnding();
    this.#tell({ kind: 'ended', left: [...left], owed });
    if (left.length > 0) await this.#retry();
  }

  async #retry(): Promise<void> {
    for (let pause = firstRetryMilliseconds; ; pause = Math.min(pause * 2, lastRetryMilliseconds)) {
      await delay(pause);
      if ((await this.#tryEnding()).left.length === 0) return;
    }
  }

  async #disconnect(): Promise<void> {
    const sockets = this.#sockets;
    this.#sockets = [];
    await Promise.all(sockets.map(endConnection));
  }

  async #tryEnding(atHand?: AtHand): Promise<Ending> {
    const record = this.#known();
    try {
      return await endSnapshot(record, this.#fileOf(record), {
        note: (news) => this.#note(news),
        disconnect: () => this.#disconnect(),
        ...atHand,
      });
    } catch (error) {
      return { left: [messageOf(error)], owed: false };
    }
  }

  async #note(news: Partial<SnapshotRecord>): Promise<void> {
    this.#record = { ...this.#known(), ...news };
    await this.#fileOf(this.#record).write(this.#record);
  }

  #known(): SnapshotRecord {
    if (this.#record) return this.#record;
    throw new StillError('EINVAL', 'the keeper was told of no snapshot');
  }
}

function rounded(built: Built): Extract<Report, { kind: 'taken' }>['built'] {
  const round = (milliseconds: number): number => Math.round(milliseconds * 1000) / 1000;
  return {
    ...built,
    granuleBytes: [...built.granuleBytes],
    dirtyBytes: [...built.dirtyBytes],
    freezeMilliseconds: round(built.freezeMilliseconds),
    pauseMilliseconds: round(built.pauseMilliseconds),
  };
}

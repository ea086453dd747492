import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { errnoNamed, StillError } from '../../../errors.js';
import type { Logger } from '../../../log.js';
import type { Built, Plan } from '../building.js';
import type { SnapshotRecord } from '../snapshot-record.js';
import { type Order, type Report, report } from './messages.js';

const program = fileURLToPath(new URL('./keeper-process.js', import.meta.url));
/** How long who gave up is kept waiting until all is undone; after that the keeper goes on alone. */
const undoMilliseconds = 5000;
/** The first descriptor that a keeper inherits: after its standard ones and the channel to the daemon. */
const firstInherited = 4;

export interface Ended {
  readonly left: readonly string[];
  readonly owed: boolean;
}

/** A keeper as the daemon sees it: a process in a session of its own, which ends when there is nothing left to keep. */
export class Keeper {
  readonly #child: ChildProcess;
  readonly #waiting: Array<{
    fits(told: Report): boolean;
    resolve(told: Report): void;
    reject(error: unknown): void;
  }> = [];
  #lost: StillError | undefined;
  #refused: readonly string[] | undefined;
  /** Settles when the process is gone. */
  readonly gone: Promise<void>;

  /**
   * Starts a keeper, which inherits these descriptors; they stay the caller's, too. `sockets` are connected to QEMU's NBD server: the
   * keeper ends those connections when that is safe.
   */
  constructor(
    readonly guest: string,
    private readonly inherited: readonly number[],
    sockets: readonly number[],
    log: Logger,
  ) {
    const held = sockets.map((_, index) => String(firstInherited + inherited.length + index));
    this.#child = spawn(process.execPath, [program, ...held], {
      detached: true,
      cwd: '/',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc', ...inherited, ...sockets],
      env: { ...process.env, UV_THREADPOOL_SIZE: '4' },
    });
    this.#child.unref();
    this.#child.channel?.unref();
    this.gone = new Promise((resolve) => {
      const lose = (how: string): void => {
        this.#lost ??= new StillError('EIO', `the keeper of guest ${guest} ${how}`);
        for (const { reject } of this.#waiting.splice(0)) reject(this.#lost);
        resolve();
      };
      this.#child.on('error', (error) => lose(`could not be started: ${error.message}`));
      this.#child.on('exit', (code, signal) => lose(`ended (${signal ?? `exit code ${code}`})`));
    });
    this.#child.on('message', (message) => {
      const told = report.safeParse(message);
      if (!told.success) {
        log.error({ guest }, 'the keeper said something that is not understood');
        return;
      }
      const index = this.#waiting.findIndex(({ fits }) => fits(told.data));
      if (index >= 0) this.#waiting.splice(index, 1)[0]?.resolve(told.data);
    });
  }

  get alive(): boolean {
    return this.#lost === undefined;
  }

  /** Has a snapshot taken. Rejects with the reason, and with what is left where that is not nothing. */
  async take(plan: Plan, signal: AbortSignal): Promise<Built> {
    const inKeeper = (descriptor: number): number => firstInherited + this.inherited.indexOf(descriptor);
    const answer = this.#answer((told) => told.kind === 'taken' || told.kind === 'refused');
    this.#send({
      kind: 'take',
      record: plan.record,
      listener: inKeeper(plan.listener),
      fleecing: plan.fleecing.map(inKeeper),
      mostConnections: plan.mostConnections,
      freezeMilliseconds: plan.freezeMilliseconds,
    });
    let late: NodeJS.Timeout | undefined;
    let abort = (): void => undefined;
    const givenUp = new Promise<never>((_, reject) => {
      abort = () => {
        this.#send({ kind: 'abort' });
        late = setTimeout(() => {
          this.#refused = ['QEMU does not answer'];
          reject(signal.reason);
        }, undoMilliseconds);
      };
    });
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    try {
      const told = await Promise.race([answer, givenUp]);
      if (told.kind === 'taken') return told.built;
      if (told.kind !== 'refused') throw new StillError('EPROTO', `the keeper answered ${told.kind}`);
      this.#refused = told.left;
      if (signal.aborted) throw signal.reason;
      const rest = told.left.length > 0 ? `; still to be undone: ${told.left.join('; ')}` : '';
      throw new StillError(errnoNamed(told.code), `${told.message}${rest}`);
    } finally {
      signal.removeEventListener('abort', abort);
      clearTimeout(late);
    }
  }

  hold(record: SnapshotRecord): void {
    this.#send({ kind: 'hold', record });
  }

  /** Has the snapshot ended by its recorded outcome. Where something is left the keeper goes on, and lives as long. */
  async end(record?: SnapshotRecord): Promise<Ended> {
    // Then it is undoing already what it had begun.
    if (this.#refused) return { left: this.#refused, owed: false };
    const answer = this.#answer((told) => told.kind === 'ended');
    this.#send({ kind: 'end', ...(record && { record }) });
    const told = await answer;
    if (told.kind !== 'ended') throw new StillError('EPROTO', `the keeper answered ${told.kind}`);
    return told;
  }

  #answer(fits: (told: Report) => boolean): Promise<Report> {
    // An open snapshot does not keep the daemon running; an answer that is waited for does.
    this.#child.ref();
    this.#child.channel?.ref();
    return new Promise<Report>((resolve, reject) => {
      if (this.#lost) reject(this.#lost);
      else this.#waiting.push({ fits, resolve, reject });
    }).finally(() => {
      if (this.#waiting.length > 0) return;
      this.#child.unref();
      this.#child.channel?.unref();
    });
  }

  #send(order: Order): void {
    // A keeper that is gone is told of by `gone` and by every answer.
    if (this.#child.connected) this.#child.send(order, () => undefined);
  }
}

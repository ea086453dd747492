import { messageOf } from '../errors.js';
import { type HostedDisks, InspectionHost } from '../inspection/hosted/hosted-disks.js';
import type { Logger } from '../log.js';
import { type Name, nameToText } from '../name.js';
import { Lending, type Loan } from './lending.js';
import type { OpenedDisks } from './opened-disks.js';
import type { Still } from './still.js';

/** So many guests that nobody looks into stay looked into: each has a worker. */
const mostIdle = 6;
const idleMilliseconds = 60_000;

/** The backups and snapshots whose disks are looked into: each has a worker of its own, which all who look share. */
export class OpenedInspections {
  readonly #host = new InspectionHost();
  readonly #disks: OpenedDisks;
  readonly #log: Logger;
  readonly #problemsChanged: (still: Name) => void;
  readonly #opened: Lending<HostedDisks>;

  /** `problemsChanged` is called with the path of a backup or snapshot when something is found in it that can't be shown. */
  constructor(disks: OpenedDisks, log: Logger, problemsChanged: (still: Name) => void) {
    this.#disks = disks;
    this.#log = log;
    this.#problemsChanged = problemsChanged;
    this.#opened = new Lending({
      mostIdle,
      idleMilliseconds,
      closeFailed: (error) => log.warn({ error }, 'the worker of some disks did not end properly'),
    });
  }

  /** Says that somebody may soon look into disks. */
  prepare(): void {
    this.#host.prepare();
  }

  /** The disks of a backup or snapshot, looked into; one that can't be opened is left out and noted. */
  async borrow(still: Still, signal: AbortSignal): Promise<Loan<HostedDisks>> {
    return this.#opened.borrow(still.key, (shared) => this.#open(still, shared), signal);
  }

  drop(still: Still): void {
    this.#opened.drop((key) => key === still.key);
  }

  async close(): Promise<void> {
    await Promise.all([this.#opened.close(), this.#host.close()]);
  }

  async #open(still: Still, signal: AbortSignal): Promise<HostedDisks> {
    const disks = [...still.disks.values()];
    const loans = await Promise.all(
      disks.map(async (disk) => {
        try {
          const { value, release } = await this.#disks.borrow(still, disk, signal);
          return { name: disk.name, disk: value, release };
        } catch {
          // That the disk is bad was noted when it could not be opened.
          signal.throwIfAborted();
          return undefined;
        }
      }),
    );
    const opened = loans.filter((loan) => loan !== undefined);
    const release = (): void => {
      for (const loan of opened) loan.release();
    };
    const name = nameToText(still.path);
    const sentences: string[] = [];
    const problem = (sentence: string): void => {
      sentences.push(sentence);
      this.#log.warn({ path: name }, sentence);
      if (still.note('inside', sentences.join('\n'))) this.#problemsChanged(still.path);
    };
    try {
      return await this.#host.open({ name, disks: opened, problem, ended: release }, signal);
    } catch (error) {
      if (!signal.aborted) problem(`The disks can't be looked into: ${messageOf(error)}.`);
      throw error;
    }
  }
}

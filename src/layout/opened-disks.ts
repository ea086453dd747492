import { LRUCache } from 'lru-cache';
import { type DiskSurvey, survey } from '../disks/dirty-map/survey.js';
import type { Disk } from '../disks/disk.js';
import { hasCode, isAbort, messageOf, StillError } from '../errors.js';
import type { Logger } from '../log.js';
import { type Name, nameToText } from '../name.js';
import { SharedWait } from '../shared-wait.js';
import { Lending, type Loan } from './lending.js';
import type { Still, StillDisk } from './still.js';

const mostIdleDisks = 64;
const idleMilliseconds = 60_000;
/** A disk that could not be opened is not tried again for so long. */
const failedMilliseconds = 2000;
/** Blocks of maps that all surveys together may hold; each is three numbers. */
const mostSurveyBlocks = 500_000;
/** Bytes of the maps' texts that are kept. */
const mostMapText = 32 * 1024 * 1024;
/** For so long what a disk takes up is taken to be as it was, though some of it was given back meanwhile. */
const allocatedMilliseconds = 1000;

/** Faults of this machine's, not of the disk's: worth another try, and no problem of what it belongs to. */
const passing = ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EINTR'] as const;

interface KnownSurvey {
  readonly survey: DiskSurvey;
  /** Milliseconds of `performance.now()`. */
  readonly madeAt: number;
  /** How many discards the disk had seen when the walk began. */
  readonly discards: number;
}

/** The disks of all backups and snapshots: each is opened once, shared, and surveyed once. */
export class OpenedDisks {
  readonly mapText = new LRUCache<string, Buffer>({
    maxSize: mostMapText,
    sizeCalculation: (text) => text.length + 100,
  });
  readonly #log: Logger;
  readonly #problemsChanged: (still: Name) => void;
  readonly #disks: Lending<Disk>;
  readonly #failed = new LRUCache<string, StillError>({ max: 1000, ttl: failedMilliseconds });
  readonly #surveys = new LRUCache<string, KnownSurvey>({
    maxSize: mostSurveyBlocks,
    sizeCalculation: ({ survey: { blocks } }) => blocks.length + 10,
  });
  readonly #surveying = new Map<string, SharedWait<DiskSurvey>>();
  /** By disk, how often something of it was given back. */
  readonly #discards = new Map<string, number>();

  /** `problemsChanged` is called with the path of a backup or snapshot when a disk of it is found to be bad, or well again. */
  constructor(log: Logger, problemsChanged: (still: Name) => void) {
    this.#log = log;
    this.#problemsChanged = problemsChanged;
    this.#disks = new Lending({
      mostIdle: mostIdleDisks,
      idleMilliseconds,
      closeFailed: (error) => log.warn({ error }, 'a disk was not closed properly'),
    });
  }

  /** A disk with its whole chain. EIO, with the reason, for one that can't be opened. */
  async borrow(still: Still, disk: StillDisk, signal: AbortSignal): Promise<Loan<Disk>> {
    const key = keyOf(still, disk);
    const failed = this.#failed.get(key);
    if (failed) throw failed;
    const open = async (shared: AbortSignal): Promise<Disk> => {
      try {
        const value = await disk.open(shared);
        this.#note(still, disk, undefined);
        return value;
      } catch (error) {
        if (shared.aborted || isAbort(error) || passing.some((code) => hasCode(error, code))) throw error;
        const failure = this.#failure(still, disk, error);
        this.#failed.set(key, failure);
        throw failure;
      }
    };
    return this.#disks.borrow(key, open, signal);
  }

  /**
   * What a walk over all of a disk's extents tells. What is given back changes what the disk takes up, not its size and
   * not what is dirty: who asks for `allocated` gets another walk then.
   */
  async survey(
    still: Still,
    disk: StillDisk,
    signal: AbortSignal,
    { allocated = false } = {},
  ): Promise<DiskSurvey> {
    const key = keyOf(still, disk);
    const known = this.#surveys.get(key);
    if (known && !(allocated && this.#isOutdated(key, known))) return known.survey;
    let surveying = this.#surveying.get(key);
    if (!surveying || surveying.abandoned) {
      surveying = new SharedWait(async (shared) => {
        try {
          return await this.#surveyed(still, disk, shared);
        } finally {
          if (!shared.aborted) this.#surveying.delete(key);
        }
      });
      this.#surveying.set(key, surveying);
    }
    return surveying.wait(signal);
  }

  /** To be called when something of a disk was given back. */
  gaveBack(still: Still, disk: StillDisk): void {
    const key = keyOf(still, disk);
    this.#discards.set(key, (this.#discards.get(key) ?? 0) + 1);
  }

  /** Lets go of all disks of a snapshot that has ended. */
  drop(still: Still): void {
    const isOfStill = (key: string): boolean => key.startsWith(`${still.key}\0`);
    this.#disks.drop(isOfStill);
    for (const kept of [this.mapText, this.#failed, this.#surveys, this.#discards]) {
      for (const key of [...kept.keys()].filter(isOfStill)) kept.delete(key);
    }
  }

  close(): Promise<void> {
    return this.#disks.close();
  }

  #isOutdated(key: string, { discards, madeAt }: KnownSurvey): boolean {
    if ((this.#discards.get(key) ?? 0) === discards) return false;
    return performance.now() >= madeAt + allocatedMilliseconds;
  }

  async #surveyed(still: Still, disk: StillDisk, signal: AbortSignal): Promise<DiskSurvey> {
    const key = keyOf(still, disk);
    const loan = await this.borrow(still, disk, signal);
    try {
      const discards = this.#discards.get(key) ?? 0;
      const made = await survey(loan.value, signal);
      if (!still.ended) this.#surveys.set(key, { survey: made, madeAt: performance.now(), discards });
      return made;
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      throw this.#failure(still, disk, error);
    } finally {
      loan.release();
    }
  }

  #failure(still: Still, disk: StillDisk, error: unknown): StillError {
    const sentence = `disks/${nameToText(disk.name)}.raw can't be read: ${messageOf(error)}`;
    this.#note(still, disk, sentence);
    return new StillError('EIO', sentence);
  }

  #note(still: Still, disk: StillDisk, sentence: string | undefined): void {
    if (!still.note(disk.name, sentence)) return;
    if (sentence !== undefined) this.#log.warn({ path: nameToText(still.path) }, sentence);
    this.#problemsChanged(still.path);
  }
}

/** Stands for a disk as long as the backup or snapshot is as it was. */
export function keyOf(still: Still, disk: StillDisk): string {
  return `${still.key}\0${disk.name}`;
}

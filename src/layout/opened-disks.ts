import { LRUCache } from 'lru-cache';
import { type DiskSurvey, survey } from '../disks/dirty-map/survey.js';
import type { Disk } from '../disks/disk.js';
import { hasCode, isAbort, messageOf, StillError } from '../errors.js';
import type { Logger } from '../log.js';
import { type Name, nameToText } from '../name.js';
import { SharedWait } from '../shared-wait.js';
import type { StoredDisk } from '../stores/store.js';
import { Lending, type Loan } from './lending.js';
import type { OpenedBackup } from './opened-backups.js';

const mostIdleDisks = 64;
const idleMilliseconds = 60_000;
/** A disk that could not be opened is not tried again for so long. */
const failedMilliseconds = 2000;
/** Blocks of maps that all surveys together may hold; each is three numbers. */
const mostSurveyBlocks = 500_000;
/** Bytes of the maps' texts that are kept. */
const mostMapText = 32 * 1024 * 1024;

/** Faults of this machine's, not of the disk's: worth another try, and no problem of the backup. */
const passing = ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EINTR'] as const;

/** The disks of all backups: each is opened once, shared, and surveyed once. */
export class OpenedDisks {
  readonly mapText = new LRUCache<string, Buffer>({
    maxSize: mostMapText,
    sizeCalculation: (text) => text.length + 100,
  });
  readonly #log: Logger;
  readonly #problemsChanged: (backup: Name) => void;
  readonly #disks: Lending<Disk>;
  readonly #failed = new LRUCache<string, StillError>({ max: 1000, ttl: failedMilliseconds });
  readonly #surveys = new LRUCache<string, DiskSurvey>({
    maxSize: mostSurveyBlocks,
    sizeCalculation: ({ blocks }) => blocks.length + 10,
  });
  readonly #surveying = new Map<string, SharedWait<DiskSurvey>>();

  /** `problemsChanged` is called with a backup's path when a disk of it is found to be bad, or well again. */
  constructor(log: Logger, problemsChanged: (backup: Name) => void) {
    this.#log = log;
    this.#problemsChanged = problemsChanged;
    this.#disks = new Lending({
      mostIdle: mostIdleDisks,
      idleMilliseconds,
      closeFailed: (error) => log.warn({ error }, 'a disk was not closed properly'),
    });
  }

  /** A disk with its whole chain. EIO, with the reason, for one that can't be opened. */
  async borrow(path: Name, opened: OpenedBackup, disk: StoredDisk, signal: AbortSignal): Promise<Loan<Disk>> {
    const key = `${opened.key}\0${disk.name}`;
    const failed = this.#failed.get(key);
    if (failed) throw failed;
    const open = async (shared: AbortSignal): Promise<Disk> => {
      try {
        const value = await disk.open(shared);
        this.#note(path, opened, disk, undefined);
        return value;
      } catch (error) {
        if (shared.aborted || isAbort(error) || passing.some((code) => hasCode(error, code))) throw error;
        const failure = this.#failure(path, opened, disk, error);
        this.#failed.set(key, failure);
        throw failure;
      }
    };
    return this.#disks.borrow(key, open, signal);
  }

  /** What a walk over all of a disk's extents tells. */
  async survey(path: Name, opened: OpenedBackup, disk: StoredDisk, signal: AbortSignal): Promise<DiskSurvey> {
    const key = `${opened.key}\0${disk.name}`;
    const known = this.#surveys.get(key);
    if (known) return known;
    let surveying = this.#surveying.get(key);
    if (!surveying || surveying.abandoned) {
      surveying = new SharedWait(async (shared) => {
        try {
          return await this.#surveyed(path, opened, disk, shared);
        } finally {
          if (!shared.aborted) this.#surveying.delete(key);
        }
      });
      this.#surveying.set(key, surveying);
    }
    return surveying.wait(signal);
  }

  close(): Promise<void> {
    return this.#disks.close();
  }

  async #surveyed(
    path: Name,
    opened: OpenedBackup,
    disk: StoredDisk,
    signal: AbortSignal,
  ): Promise<DiskSurvey> {
    const loan = await this.borrow(path, opened, disk, signal);
    try {
      const made = await survey(loan.value, signal);
      this.#surveys.set(`${opened.key}\0${disk.name}`, made);
      return made;
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      throw this.#failure(path, opened, disk, error);
    } finally {
      loan.release();
    }
  }

  #failure(path: Name, opened: OpenedBackup, disk: StoredDisk, error: unknown): StillError {
    const sentence = `disks/${nameToText(disk.name)}.raw can't be read: ${messageOf(error)}`;
    this.#note(path, opened, disk, sentence);
    return new StillError('EIO', sentence);
  }

  #note(path: Name, opened: OpenedBackup, disk: StoredDisk, sentence: string | undefined): void {
    if (!opened.note(disk.name, sentence)) return;
    if (sentence !== undefined) this.#log.warn({ backup: nameToText(path) }, sentence);
    this.#problemsChanged(path);
  }
}

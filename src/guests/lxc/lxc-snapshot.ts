import { StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { type Time, timeFromDate } from '../../time.js';
import type { Tree } from '../../tree/tree.js';
import type { GuestFile, Outcome, Snapshot, SnapshotName } from '../guest.js';
import { SnapshotStanding } from '../snapshot-standing.js';
import type { RecordFile } from '../state/record-file.js';
import type { Captured } from './capture.js';
import { dropRecorded } from './dropping.js';
import type { LxcGuestSettings } from './settings.js';
import { openShownFiles, placeText, type ShownFiles } from './shown-files.js';
import type { LxcRecord } from './snapshot-record.js';

/** What a snapshot of a container came to be. */
export interface TakenContainer extends Omit<Captured, 'places'> {
  readonly name: SnapshotName;
  /** As LXC told of the container: `running`, `stopped`… */
  readonly state: string;
  readonly files: readonly GuestFile[];
  readonly shown: ShownFiles;
}

/** What a snapshot has of its guest. */
export interface LxcSnapshotContext {
  readonly settings: LxcGuestSettings;
  readonly file: RecordFile<LxcRecord>;
  readonly log: Logger;
  readonly changed: (snapshot: Snapshot) => void;
  readonly gone: (snapshot: Snapshot) => void;
}

/** An open snapshot of a container. */
export class LxcSnapshot implements Snapshot {
  readonly id: string;
  readonly name: SnapshotName;
  readonly time: Time;
  readonly files: readonly GuestFile[];
  readonly disks = [];
  readonly #taken: TakenContainer;
  readonly #context: LxcSnapshotContext;
  readonly #standing: SnapshotStanding;
  #tree: Tree | undefined;
  readonly #oldAge: NodeJS.Timeout | undefined;
  #dropping: Promise<readonly string[]> | undefined;

  constructor(taken: TakenContainer, context: LxcSnapshotContext) {
    this.id = taken.record.id;
    this.name = taken.name;
    this.time = timeFromDate(new Date(taken.instant));
    this.files = taken.files;
    this.#taken = taken;
    this.#context = context;
    const { settings, log } = context;
    this.#standing = new SnapshotStanding(settings.id, taken.name.folder, log);
    const { longestSnapshotMilliseconds: longest } = settings;
    if (longest === undefined) return;
    const reason = `it was open for longer than ${Math.round(longest / 1000)} s`;
    this.#oldAge = setTimeout(() => this.#breakOff(reason), longest);
    this.#oldAge.unref();
  }

  get outcome(): Outcome {
    return this.#standing.outcome;
  }

  get problems(): readonly string[] {
    return this.#standing.problems;
  }

  readonly rootfs = async (signal: AbortSignal, problem: (sentence: string) => void): Promise<Tree> => {
    this.#standing.mustBeReadable();
    const tree = await openShownFiles(this.#taken.shown, problem, signal);
    if (this.#standing.broken !== undefined) {
      await tree.close();
      this.#standing.mustBeReadable();
    }
    this.#tree = tree;
    return tree;
  };

  describe(): Readonly<Record<string, unknown>> {
    const { record, instant, state, mountPoints, omitted, freezeMilliseconds, flushMilliseconds } =
      this.#taken;
    const { settings } = this.#context;
    return {
      id: this.id,
      guest: record.guest,
      type: 'lxc',
      name: this.name.name,
      chain: null,
      time: new Date(instant).toISOString(),
      outcome: this.#standing.outcome,
      broken: this.#standing.broken ?? null,
      snapshot: settings.snapshot.kind,
      ...(settings.snapshot.kind === 'none' && {
        live: 'these are the files that the container works on: they change while they are read',
      }),
      state,
      ids: settings.ids,
      mountPoints,
      omitted: omitted.map(({ at, reason }) => ({ path: placeText(at), reason })),
      flushMilliseconds,
      freezeMilliseconds,
    };
  }

  async say(outcome: 'success' | 'failure'): Promise<void> {
    await this.#standing.say(outcome, (said) => this.#context.file.writeOutcome(said));
    this.#context.changed(this);
  }

  async end(): Promise<void> {
    const { settings, gone } = this.#context;
    this.#standing.end();
    gone(this);
    const left = await this.#dropped();
    if (left.length > 0) {
      const what = `not all of snapshot ${this.name.folder} of guest ${settings.id} is gone yet`;
      throw new StillError('EIO', `${what}, the next snapshot or start tries again: ${left.join('; ')}`);
    }
  }

  /** Gives the snapshot up: it takes up no room any more, and its folder says why. */
  #breakOff(reason: string): void {
    if (!this.#standing.breakOff(reason)) return;
    const { changed, settings, log } = this.#context;
    changed(this);
    this.#dropped().then(
      (left) => {
        for (const sentence of left) log.warn({ guest: settings.id }, sentence);
      },
      (error: unknown) => log.error({ error, guest: settings.id }, 'a broken snapshot was not dropped'),
    );
  }

  #dropped(): Promise<readonly string[]> {
    this.#dropping ??= this.#drop();
    return this.#dropping;
  }

  async #drop(): Promise<readonly string[]> {
    clearTimeout(this.#oldAge);
    await this.#tree?.close();
    const left = await dropRecorded(this.#context.file);
    this.#context.log.info(
      { guest: this.#context.settings.id, snapshot: this.name.folder, left },
      `snapshot ended, ${this.#standing.outcome === 'success' ? 'as a success' : 'as a failure'}`,
    );
    return left;
  }
}

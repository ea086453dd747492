import { stat } from 'node:fs/promises';
import { hasCode, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { Name } from '../../name.js';
import type { RecordFile } from '../state/record-file.js';
import type { Container } from './container.js';
import type { ContainerState } from './lxc-programs.js';
import type { LxcGuestSettings } from './settings.js';
import type { ShownPlace } from './shown-files.js';
import type { LxcRecord } from './snapshot-record.js';

/** What a way of taking snapshots is given. */
export interface Subject {
  readonly settings: LxcGuestSettings;
  readonly container: Container;
  readonly told: ContainerState;
  readonly file: RecordFile<LxcRecord>;
  /** As nothing is made yet. */
  readonly record: LxcRecord;
  /** The lock of the guest's state folder. */
  readonly lock: number;
  readonly log: Logger;
}

/** What came of it. */
export interface Captured {
  readonly record: LxcRecord;
  /** Milliseconds since 1970. */
  readonly instant: number;
  /** What is to be shown: the root file system first. */
  readonly places: readonly ShownPlace[];
  /** The same for people. */
  readonly mountPoints: ReadonlyArray<{ readonly path: string; readonly source: string }>;
  readonly omitted: readonly Omitted[];
  /** How long the container stood still; null where it did not. */
  readonly freezeMilliseconds: number | null;
  /** How long the file systems took to write what they held, before that; null where they were not asked to. */
  readonly flushMilliseconds: number | null;
}

/** Something of the container's that a snapshot does not show. */
export interface Omitted {
  /** The names that lead there. */
  readonly at: readonly Name[];
  readonly reason: string;
}

/** The folder of the container's root file system. ENODEV: there is none. */
export async function rootfsOf({ settings, container: { rootfs, noRootfs } }: Subject): Promise<string> {
  if (rootfs === undefined) throw new StillError('ENODEV', `guest ${settings.id} can't be read: ${noRootfs}`);
  await mustBeFolder(rootfs, `the root file system of guest ${settings.id}`);
  return rootfs;
}

/** ENODEV: it is not there, or something else. */
export async function mustBeFolder(path: string, what: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (found?.isDirectory()) return;
  throw new StillError('ENODEV', `${what} is not there: ${found ? 'it is no folder' : 'no folder'} ${path}`);
}

/** What of the host's is mounted in the container: no loss, but told. */
export function foreignOf({ foreign }: Container): Omitted[] {
  return foreign.map(({ mount, reason }) => ({ at: mount.path, reason }));
}

import { isAbsolute } from 'node:path';
import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import { type Captured, mustBeFolder, type Subject } from './capture.js';
import type { SnapshotWay } from './settings.js';
import { runUserCommand } from './user-command.js';

/** What a command of the user's takes: the folder whose path it prints. */
export async function captureByCommand(
  { settings, container, file, record }: Subject,
  { take, drop }: Extract<SnapshotWay, { kind: 'command' }>,
  signal: AbortSignal,
): Promise<Captured> {
  const { takeMilliseconds: milliseconds, id } = settings;
  const command = { drop, folder: null, running: null, dropMilliseconds: milliseconds };
  const planned = { ...record, command };
  // Before the command begins: what it makes is not ours to find.
  await file.write(planned);
  const facts = { STILLFS_GUEST: id, STILLFS_SNAPSHOT: record.name, STILLFS_ID: record.id };
  const what = `take of guest ${id}`;
  const output = await runUserCommand(
    {
      what,
      command: take,
      facts,
      milliseconds,
      started: (running) => file.write({ ...planned, command: { ...command, running } }),
    },
    signal,
  );
  const folder = output.replace(/\n+$/, '');
  const taken = { ...planned, command: { ...command, folder } };
  await file.write(taken);
  if (!isAbsolute(folder) || folder.includes('\n')) {
    throw new StillError(
      'EIO',
      `${what} gave ${JSON.stringify(folder)}: expected the path of a folder and nothing else`,
    );
  }
  await mustBeFolder(folder, `what ${what} gave`);
  const reason = 'the folder that the command gave is all that is shown';
  return {
    record: { ...taken, taken: true },
    instant: Date.now(),
    places: [{ at: [], folder, within: '' as Name }],
    mountPoints: [{ path: '/', source: folder }],
    omitted: container.storage.map(({ path }) => ({ at: path, reason })),
    freezeMilliseconds: null,
    flushMilliseconds: null,
  };
}

import type { Logger } from '../../log.js';
import type { PrunedBackup, PruneListener } from '../../provider/prune/prune-guest.js';
import type { PruneResult } from '../../provider/prune/prune-job.js';
import { columns } from '../columns.js';
import { bytesText, secondsText } from './amounts.js';
import { PartBars } from './part-bars.js';
import { PartEvents } from './part-events.js';
import { PartLines } from './part-lines.js';

/** Tells how a prune goes, to a person, a log or a program. The caller closes it. */
export interface PruneReport extends PruneListener {
  ended(result: PruneResult): void;
  close(): void;
}

/** Bars on a terminal for what is being merged, and a line for each thing that is done. */
export function terminalPruneReport(stream: NodeJS.WriteStream): PruneReport {
  const bars = new PartBars(stream);
  return {
    progress: (guest, progress) => {
      const part = `${guest} ${progress.part}`;
      bars.progress({ ...progress, part });
      if (progress.done === progress.total) bars.over((each) => each === part);
    },
    ended: ({ guest }) => bars.over((part) => part.startsWith(`${guest} `)),
    log: {
      info: (_facts, sentence) => bars.say(sentence),
      warn: (_facts, sentence) => bars.say(`warning: ${sentence}`),
    },
    close: () => bars.close(),
  };
}

/** Lines in a log: one for each thing that is done, and now and then how far it has come. */
export function logPruneReport(log: Logger): PruneReport {
  const lines = new PartLines(log);
  return {
    progress: (guest, progress) =>
      lines.progress({ ...progress, part: `${guest} ${progress.part}` }, { guest, part: progress.part }),
    ended: () => undefined,
    log,
    close: () => undefined,
  };
}

/** What `--json` prints: one event a line. Keys may be added to it, never changed. */
export function jsonPruneReport(stream: NodeJS.WriteStream): PruneReport {
  const events = new PartEvents(stream);
  return {
    progress: (guest, progress) => events.progress(progress, { guest }),
    ended: (result) => events.say('guest-end', result),
    log: events.log,
    close: () => undefined,
  };
}

/** What has become of the backups, for a person. */
export function pruneText(results: readonly PruneResult[], dryRun: boolean): string {
  const rows = results.flatMap(({ guest, backups, error }) => [
    ...backups.map((backup) => [guest, backup.backup, stateOf(backup, dryRun), remark(backup)]),
    ...(error === undefined ? [] : [[guest, '-', 'failed', error]]),
    ...(error === undefined && backups.length === 0 ? [[guest, '-', '-', '(no backups)']] : []),
  ]);
  const freed = results.reduce((sum, result) => sum + result.freedBytes, 0);
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0);
  const end = dryRun ? '' : `freed ${bytesText(Math.max(0, freed))} in ${secondsText(seconds)}\n`;
  return `${columns([['GUEST', 'BACKUP', dryRun ? 'WOULD BE' : 'IS', ''], ...rows])}${end}`;
}

function stateOf({ mark, removed, reason }: PrunedBackup, dryRun: boolean): string {
  if (mark === 'protected') return 'protected';
  if (mark === 'keep') return 'kept';
  if (removed) return 'removed';
  return reason === undefined && dryRun ? 'removed' : 'needed';
}

function remark({ mergedInto, reason, removed }: PrunedBackup): string {
  if (reason !== undefined && !removed) return reason;
  return mergedInto.length > 0 ? `merged into ${mergedInto.join(', ')}` : '';
}

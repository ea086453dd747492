import type { Logger } from '../../log.js';
import type { GuestResult, JobListener } from '../../provider/backup/backup-job.js';
import { bytesText, secondsText } from './amounts.js';
import { PartBars } from './part-bars.js';
import { PartEvents } from './part-events.js';
import { PartLines } from './part-lines.js';

/** Tells how a job goes, to a person, a log or a program. The caller closes it. */
export interface BackupReport extends JobListener {
  close(): void;
}

/** Bars on a terminal, and a line for each thing that is done. */
export function terminalReport(stream: NodeJS.WriteStream): BackupReport {
  const bars = new PartBars(stream);
  return {
    begun: () => undefined,
    progress: (guest, progress) => bars.progress({ ...progress, part: `${guest} ${progress.part}` }),
    ended: (result) => {
      bars.over((part) => part.startsWith(`${result.guest} `));
      bars.say(endedText(result));
    },
    log: {
      info: (_facts, sentence) => bars.say(sentence),
      warn: (_facts, sentence) => bars.say(`warning: ${sentence}`),
    },
    close: () => bars.close(),
  };
}

/** Lines in a log: one for each thing that is done, and now and then how far it has come. */
export function logReport(log: Logger): BackupReport {
  const lines = new PartLines(log);
  return {
    begun: (guest) => log.info({ guest }, `begins with guest ${guest}`),
    progress: (guest, progress) =>
      lines.progress({ ...progress, part: `${guest} ${progress.part}` }, { guest, part: progress.part }),
    ended: (result) => {
      if (result.error === undefined) log.info(result, endedText(result));
      else log.error({ guest: result.guest }, endedText(result));
    },
    log,
    close: () => undefined,
  };
}

/** What `--json` prints: one event a line. Keys may be added to it, never changed. */
export function jsonReport(stream: NodeJS.WriteStream): BackupReport {
  const events = new PartEvents(stream);
  return {
    begun: (guest) => events.say('backup-start', { guest }),
    progress: (guest, progress) => events.progress(progress, { guest }),
    ended: ({ error, busy, ...result }) =>
      error === undefined
        ? events.say('backup-end', result)
        : events.say('backup-abort', {
            guest: result.guest,
            seconds: result.seconds,
            error,
            busy: busy ?? false,
          }),
    log: events.log,
    close: () => undefined,
  };
}

function endedText({ guest, seconds, backup, error, description }: GuestResult): string {
  if (error !== undefined) return `guest ${guest} was not backed up: ${error}`;
  const stored = bytesText(storedBytes(description));
  return `guest ${guest} is backed up as ${backup}: ${stored} in ${secondsText(seconds)}`;
}

/** What a backup takes up, in bytes. */
export function storedBytes(description: GuestResult['description']): number {
  const disks = Object.values(description?.disks ?? {}).map((disk) => disk.storedBytes ?? 0);
  return [...disks, description?.archive?.storedBytes ?? 0].reduce((sum, bytes) => sum + bytes, 0);
}

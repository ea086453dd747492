import { hasCode, messageOf } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { Narration } from '../../provider/job/narration.js';
import type { PartProgress } from '../../provider/job/part-progress.js';
import type { Restored } from '../../provider/restore/restore-guest.js';
import { PartBars } from './part-bars.js';
import { PartEvents } from './part-events.js';
import { PartLines } from './part-lines.js';

/** Tells how a restore goes, to a person, a log or a program. The caller closes it. */
export interface RestoreReport {
  readonly log: Narration;
  progress(progress: PartProgress): void;
  ended(guest: string, restored: Restored): void;
  failed(guest: string, error: unknown): void;
  close(): void;
}

/** Bars on a terminal, and a line for each thing that is done. */
export function terminalRestoreReport(stream: NodeJS.WriteStream): RestoreReport {
  const bars = new PartBars(stream);
  return {
    log: {
      info: (_facts, sentence) => bars.say(sentence),
      warn: (_facts, sentence) => bars.say(`warning: ${sentence}`),
    },
    progress: (progress) => bars.progress(progress),
    ended: () => undefined,
    failed: () => undefined,
    close: () => bars.close(),
  };
}

/** Lines in a log. */
export function logRestoreReport(log: Logger): RestoreReport {
  const lines = new PartLines(log);
  return {
    log,
    progress: (progress) => lines.progress(progress),
    ended: () => undefined,
    failed: () => undefined,
    close: () => undefined,
  };
}

/** What `--json` prints: one event a line. Keys may be added to it, never changed. */
export function jsonRestoreReport(stream: NodeJS.WriteStream): RestoreReport {
  const events = new PartEvents(stream);
  return {
    log: events.log,
    progress: (progress) => events.progress(progress),
    ended: (guest, restored) => events.say('restore-end', { guest, ...restored }),
    failed: (guest, error) =>
      events.say('restore-abort', { guest, error: messageOf(error), busy: hasCode(error, 'EBUSY') }),
    close: () => undefined,
  };
}

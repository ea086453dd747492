import type { Logger } from '../../log.js';
import type { BackupVerdict, GuestVerdict, PartVerdict } from '../../provider/verify/verdict.js';
import type { VerifyListener } from '../../provider/verify/verify-guest.js';
import { columns } from '../columns.js';
import { bytesText } from './amounts.js';
import { PartBars } from './part-bars.js';
import { PartEvents } from './part-events.js';
import { PartLines } from './part-lines.js';

/** Tells how a verification goes, to a person, a log or a program. The caller closes it. */
export interface VerifyReport extends VerifyListener {
  /** Of a guest all has been looked at, or it could not be. */
  guest(verdict: GuestVerdict): void;
  close(): void;
}

/** So many ranges of a part are told to people. */
const mostTold = 8;

/** Bars on a terminal for what is being read. */
export function terminalVerifyReport(stream: NodeJS.WriteStream): VerifyReport {
  const bars = new PartBars(stream);
  return {
    begun: () => undefined,
    progress: (backup, progress) => bars.progress({ ...progress, part: `${backup} ${progress.part}` }),
    ended: ({ guest, backup }) => bars.over((part) => part.startsWith(`${guest}/${backup} `)),
    guest: () => undefined,
    close: () => bars.close(),
  };
}

/** Lines in a log: one for each backup, and now and then how far it has come. */
export function logVerifyReport(log: Logger): VerifyReport {
  const lines = new PartLines(log);
  return {
    begun: () => undefined,
    progress: (backup, progress) =>
      lines.progress({ ...progress, part: `${backup} ${progress.part}` }, { backup, part: progress.part }),
    ended: ({ guest, backup, state }) => {
      const facts = { guest, backup, state };
      if (state === 'damaged') log.error(facts, `${guest}/${backup} is damaged`);
      else if (state === 'fine') log.info(facts, `${guest}/${backup} is fine`);
      else log.warn(facts, `${guest}/${backup} can't be verified as a whole`);
    },
    guest: () => undefined,
    close: () => undefined,
  };
}

/** What `--json` prints: one event a line. Keys may be added to it, never changed. */
export function jsonVerifyReport(stream: NodeJS.WriteStream): VerifyReport {
  const events = new PartEvents(stream);
  return {
    begun: (backup) => events.say('verify-start', { backup }),
    progress: (backup, progress) => events.progress({ ...progress, part: `${backup} ${progress.part}` }),
    ended: (verdict) => events.say('verify-end', verdict),
    guest: ({ guest, leftovers, seconds, error, busy, backups }) =>
      events.say('guest-end', {
        guest,
        backups: backups.length,
        leftovers,
        seconds,
        ...(error !== undefined && { error, busy: busy ?? false }),
      }),
    close: () => undefined,
  };
}

/** What was found, for a person. */
export function verdictText(verdicts: readonly GuestVerdict[]): string {
  const rows = verdicts.flatMap(({ guest, backups, error }) => [
    ...backups.flatMap(rowsOf),
    ...(error === undefined ? [] : [[guest, '-', 'failed', error]]),
    ...(error === undefined && backups.length === 0 ? [[guest, '-', '-', '(no backups)']] : []),
  ]);
  const left = verdicts.flatMap(({ guest, leftovers }) =>
    leftovers.map(
      (name) => `${guest}/${name} was left by interrupted work; the next backup or prune clears it away\n`,
    ),
  );
  return `${columns([['GUEST', 'BACKUP', 'STATE', ''], ...rows])}${left.join('')}`;
}

function rowsOf({ guest, backup, state, parts, problems, dependents }: BackupVerdict): string[][] {
  const told = [...problems, ...parts.flatMap(sentencesOf)];
  const isOrigin = parts.some(
    ({ reason, damage }) => reason !== undefined || damage.some(({ from }) => from === backup),
  );
  if (state === 'damaged' && isOrigin && dependents.length > 0)
    told.push(`builds on it: ${dependents.join(', ')}`);
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  const [first = bytesText(bytes), ...more] = told;
  return [[guest, backup, state, first], ...more.map((sentence) => ['', '', '', sentence])];
}

function sentencesOf({ file, state, reason, damage, damagedBytes }: PartVerdict): string[] {
  if (state === 'fine') return [];
  if (reason !== undefined) return [`${file}: ${reason}`];
  const told = damage
    .slice(0, mostTold)
    .map(({ offset, length, why, from }) => `${file}: ${length} bytes at ${offset}: ${why}${place(from)}`);
  return damage.length > mostTold ? [...told, `${file}: ${damagedBytes} bytes are damaged in all`] : told;
}

function place(from: string | null): string {
  return from === null ? ' (stored in what it builds on)' : ` (stored in ${from})`;
}

import type { Logger } from '../../log.js';
import type { GuestResult, JobListener } from '../../provider/backup/backup-job.js';
import type { PartProgress } from '../../provider/backup/backup-work.js';
import { bytesText, secondsText } from './amounts.js';
import { PartRate } from './part-rates.js';
import { barText, StatusLines } from './status-lines.js';

/** Tells how a job goes, to a person, a log or a program. The caller closes it. */
export interface BackupReport extends JobListener {
  close(): void;
}

const drawMilliseconds = 200;
const logMilliseconds = 30_000;
const jsonMilliseconds = 1000;

/** Bars on a terminal, and a line for each thing that is done. */
export function terminalReport(stream: NodeJS.WriteStream): BackupReport {
  const lines = new StatusLines(stream);
  const parts = new Map<string, PartRate>();
  const draw = (): void => {
    const now = performance.now();
    const names = [...parts.keys()];
    const width = Math.max(0, ...names.map((name) => name.length));
    lines.draw([...parts].map(([name, rate]) => `${name.padEnd(width)} ${barText(rate.pace(now))}`));
  };
  const timer = setInterval(draw, drawMilliseconds);
  const say = (line: string): void => {
    lines.say(line);
    draw();
  };
  return {
    begun: () => undefined,
    progress: (guest, { part, done, total }) => {
      const name = `${guest} ${part}`;
      const rate = parts.get(name) ?? new PartRate();
      parts.set(name, rate);
      rate.note(done, total, performance.now());
    },
    ended: (result) => {
      for (const name of parts.keys()) if (name.startsWith(`${result.guest} `)) parts.delete(name);
      say(endedText(result));
    },
    log: {
      info: (_facts, sentence) => say(sentence),
      warn: (_facts, sentence) => say(`warning: ${sentence}`),
    },
    close: () => {
      clearInterval(timer);
      lines.draw([]);
    },
  };
}

/** Lines in a log: one for each thing that is done, and now and then how far it has come. */
export function logReport(log: Logger): BackupReport {
  const told = new Map<string, number>();
  const rates = new Map<string, PartRate>();
  return {
    begun: (guest) => log.info({ guest }, `begins with guest ${guest}`),
    progress: (guest, { part, done, total }) => {
      const name = `${guest} ${part}`;
      const now = performance.now();
      const rate = rates.get(name) ?? new PartRate();
      rates.set(name, rate);
      rate.note(done, total, now);
      if (now - (told.get(name) ?? setAndGive(told, name, now)) < logMilliseconds) return;
      told.set(name, now);
      log.info(
        { guest, part, done, total },
        `${name} ${barText(rate.pace(now)).replace(/^\[[#-]*\] */, '')}`,
      );
    },
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
  const told = new Map<string, number>();
  const say = (event: string, facts: object): void => {
    stream.write(`${JSON.stringify({ event, time: new Date().toISOString(), ...facts })}\n`);
  };
  const log =
    (level: 'info' | 'warn') =>
    (facts: object, text: string): void =>
      say('log', { level, text, ...facts });
  return {
    begun: (guest) => say('backup-start', { guest }),
    progress: (guest, progress: PartProgress) => {
      const name = `${guest} ${progress.part}`;
      const now = performance.now();
      const isEnd = progress.done === progress.total;
      if (!isEnd && now - (told.get(name) ?? Number.NEGATIVE_INFINITY) < jsonMilliseconds) return;
      told.set(name, now);
      say('progress', { guest, ...progress });
    },
    ended: ({ error, busy, ...result }) =>
      error === undefined
        ? say('backup-end', result)
        : say('backup-abort', { guest: result.guest, seconds: result.seconds, error, busy: busy ?? false }),
    log: { info: log('info'), warn: log('warn') },
    close: () => undefined,
  };
}

function setAndGive(map: Map<string, number>, name: string, value: number): number {
  map.set(name, value);
  return value;
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

import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import { messageOf } from './errors.js';

export type { Logger } from 'pino';

/** The program's log: readable lines on a terminal, JSON otherwise. Always on standard error, so that answers stay alone. */
export function openLog(level: string, stream: NodeJS.WriteStream = process.stderr): Logger {
  const options = { level, base: null, serializers: { error: messageOf } };
  // Whoever read the log may be gone. That is no reason to end a mount, and nothing that could be logged.
  stream.on('error', () => undefined);
  if (!stream.isTTY) return pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, stream);
  const colorize = process.env.NO_COLOR === undefined || process.env.NO_COLOR === '';
  return pino(options, pretty({ colorize, destination: stream, ignore: 'pid,hostname', sync: true }));
}

/** A log that says nothing, for who needs one and has no listener. */
export const silent: Logger = pino({ level: 'silent' });

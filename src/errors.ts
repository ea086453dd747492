import { constants } from 'node:os';

/** The name of a Linux error number, as errno(3) lists them. */
export type ErrnoName = keyof typeof constants.errno;

const numberOf: Readonly<Record<string, number>> = constants.errno;
// Some numbers have two names (EAGAIN and EWOULDBLOCK): the first in the alphabet is the usual one.
const nameOf = new Map<number, ErrnoName>();
for (const [name, number] of Object.entries(constants.errno)) {
  if (!nameOf.has(number)) nameOf.set(number, name as ErrnoName);
}
nameOf.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');

/** An error that the kernel can be told (`code`) and a person can read (`message`: what was tried, on what, what to do). */
export class StillError extends Error {
  override readonly name = 'StillError';

  constructor(
    readonly code: ErrnoName,
    message: string,
    options?: { cause?: unknown },
  ) {
    // Where it was made takes as long to note as the rest of an answer, and of what is simply not there nobody asks it.
    const { stackTraceLimit } = Error;
    if (code === 'ENODATA' || code === 'ENOENT') Error.stackTraceLimit = 0;
    super(message, options);
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** Whether an error carries this errno: one of ours, or one of Node's system errors. */
export function hasCode(error: unknown, code: ErrnoName): boolean {
  return numberOf[codeOf(error)] === numberOf[code];
}

/** The errno that an error stands for; EIO where it names none that the system knows. */
export function codeOf(error: unknown): ErrnoName {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code in numberOf) {
    return error.code as ErrnoName;
  }
  if (isAbort(error)) return 'EINTR';
  return 'EIO';
}

/** The positive number of the errno that an error stands for. */
export function errnoOf(error: unknown): number {
  return numberOf[codeOf(error)] ?? constants.errno.EIO;
}

/** The name of a positive error number; EIO for one that the system does not know. */
export function errnoName(errno: number): ErrnoName {
  return nameOf.get(errno) ?? 'EIO';
}

/** The errno of that name, as another process told it; EIO for one that the system does not know. */
export function errnoNamed(text: string): ErrnoName {
  return text in numberOf ? (text as ErrnoName) : 'EIO';
}

/** Whether an error is the mark of an aborted wait. */
export function isAbort(error: unknown): boolean {
  return (
    error instanceof Error && (error.name === 'AbortError' || ('code' in error && error.code === 'ABORT_ERR'))
  );
}

/** The sentence for a person, with its causes. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `: ${messageOf(error.cause)}`;
  return `${error.message}${cause}`;
}

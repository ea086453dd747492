import { CommanderError } from 'commander';
import { ConfigError } from '../config/file.js';

/** What the program's end tells a script. */
export const ExitCode = {
  /** It was done. */
  fine: 0,
  /** It was tried and failed. */
  failure: 1,
  /** The command line or the configuration is wrong; nothing was done. */
  usage: 2,
  /** The mount, the guest or its backups are in use; the message names by whom. */
  busy: 3,
  /** Nothing can be mounted here: no /dev/fuse, no right to, or a package is missing. */
  unavailable: 4,
  /** Nothing was found damaged, but of a part nobody can know: there are no checksums of it. */
  unchecked: 5,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export const exitCodesHelp = `
Exit codes:
  0  done
  1  tried and failed
  2  the command line or the configuration is wrong; nothing was done
  3  the mount, the guest or its backups are in use; the message says by whom
  4  nothing can be mounted here: no /dev/fuse, no right to, or a package is missing
  5  nothing is damaged, but not everything could be verified: there are no checksums of it`;

/** An end of the program that a person is told of in a sentence, and a script by the code. */
export class CommandError extends Error {
  override readonly name = 'CommandError';

  constructor(
    readonly exitCode: ExitCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The exit code that an error stands for. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandError) return error.exitCode;
  if (error instanceof ConfigError) return ExitCode.usage;
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.fine : ExitCode.usage;
  return ExitCode.failure;
}

import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { z } from 'zod';
import { messageOf } from '../errors.js';
import { CommandError, ExitCode } from './exit-code.js';
import { stopSignals } from './stop-signals.js';

/** What the process in the background tells the one that started it, once. */
const report = z.union([
  z.strictObject({ mounted: z.literal(true) }),
  z.strictObject({ failed: z.string(), exitCode: z.enum(ExitCode) }),
]);
type Report = z.infer<typeof report>;

/** The option that the process in the background is started with. */
export const readinessOption = '--report-readiness';

/**
 * Starts this program once more in a session of its own and waits until it has mounted. If this process is ended
 * meanwhile, the other one notices that nobody listens and undoes what it has begun.
 */
export async function startInBackground(
  args: readonly string[],
  options: { readonly mountpoint: string; readonly logFile?: string },
): Promise<ExitCode> {
  const [program] = process.argv.slice(1);
  if (program === undefined)
    throw new Error("a program that was not started from a file can't start itself again");
  const log = options.logFile === undefined ? undefined : await openLogFile(options.logFile);
  const stop = stopSignals();
  try {
    const child = spawn(process.execPath, [...process.execArgv, program, ...args], {
      detached: true,
      stdio: inherited(options.mountpoint, log?.fd),
    });
    const interrupt = (): void => {
      child.kill('SIGTERM');
    };
    stop.asked.addEventListener('abort', interrupt);
    const said = await new Promise<Report>((resolve, reject) => {
      child.once('error', reject);
      child.once('message', (message) => {
        const parsed = report.safeParse(message);
        if (parsed.success) resolve(parsed.data);
      });
      child.once('exit', (code, signal) => {
        const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
        const failed = `the process in the background ended ${how} before it had mounted`;
        // What it said last may still be on its way: the channel is read to its end first.
        const unsaid = (): void => resolve({ failed, exitCode: ExitCode.failure });
        if (child.connected) child.once('disconnect', unsaid);
        else unsaid();
      });
    });
    if ('failed' in said) throw new CommandError(said.exitCode, said.failed);
    if (child.connected) child.disconnect();
    child.unref();
    return ExitCode.fine;
  } finally {
    stop.release();
    await log?.close();
  }
}

async function openLogFile(path: string): Promise<Awaited<ReturnType<typeof open>>> {
  try {
    return await open(path, 'a', 0o640);
  } catch (error) {
    throw new CommandError(ExitCode.usage, `the log file ${path} can't be written`, { cause: error });
  }
}

/** Nothing of the terminal is kept: /dev/null, the log, the channel for the report, and a descriptor of /dev/fuse that was given. */
function inherited(mountpoint: string, log: number | undefined): Array<'ignore' | 'ipc' | number> {
  const given = Number(/^\/dev\/fd\/(\d+)$/.exec(mountpoint)?.[1] ?? Number.NaN);
  const stdio: Array<'ignore' | 'ipc' | number> = ['ignore', log ?? 'ignore', log ?? 'ignore'];
  if (given === 3) return [...stdio, given, 'ipc'];
  stdio.push('ipc');
  if (Number.isNaN(given) || given < 3) return stdio;
  while (stdio.length < given) stdio.push('ignore');
  return [...stdio, given];
}

/** The channel to the process that waits for this one to mount. */
export interface Starter {
  mounted(): void;
  failed(error: unknown, exitCode: ExitCode): Promise<void>;
}

/** Takes the channel up. `gone` is called if the starter ends before it was told that the tree is mounted. */
export function starter(gone: () => void): Starter {
  if (!process.connected) {
    throw new CommandError(
      ExitCode.usage,
      `${readinessOption} is for a process that stillfs itself has started`,
    );
  }
  const send = (message: Report): Promise<void> =>
    new Promise((resolve) => {
      process.off('disconnect', gone);
      // A starter that is gone hears nothing: before the tree is mounted `gone` has seen to that.
      process.send?.(message, undefined, {}, (error) => {
        if (error && 'mounted' in message) gone();
        if (process.connected) process.disconnect();
        resolve();
      });
    });
  process.once('disconnect', gone);
  return {
    mounted: () => void send({ mounted: true }),
    failed: (error, exitCode) => send({ failed: messageOf(error), exitCode }),
  };
}

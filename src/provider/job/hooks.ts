import { spawn } from 'node:child_process';
import { hasCode, messageOf, StillError } from '../../errors.js';
import type { Narration } from './narration.js';

/** When commands of the user's are run. */
export const hookPhases = [
  'job-start',
  'backup-start',
  'backup-end',
  'backup-abort',
  'job-end',
  'job-abort',
] as const;
export type HookPhase = (typeof hookPhases)[number];

/** Command lines for the shell, by phase. */
export type HookCommands = Readonly<Partial<Record<HookPhase, string>>>;

/** What a hook finds in its environment, beside `STILLFS_PHASE`. */
export interface HookFacts {
  /** The guests of the job, with spaces between. */
  readonly STILLFS_GUESTS?: string;
  readonly STILLFS_GUEST?: string;
  readonly STILLFS_MOUNT?: string;
  readonly STILLFS_STORE?: string;
  readonly STILLFS_STORE_PATH?: string;
  readonly STILLFS_CHAIN?: string;
  /** The name of the backup's folder, once it is stored. */
  readonly STILLFS_BACKUP?: string;
  readonly STILLFS_BACKUP_PATH?: string;
  /** Why it was given up. */
  readonly STILLFS_ERROR?: string;
}

/** Runs the user's commands. What they write goes to standard error. */
export class Hooks {
  constructor(private readonly commands: HookCommands) {}

  /** Runs the command of a phase before which nothing is done: its failure is one. EIO. */
  async mustRun(phase: 'job-start' | 'backup-start', facts: HookFacts, signal: AbortSignal): Promise<void> {
    const failure = await this.#run(phase, facts, signal);
    signal.throwIfAborted();
    if (failure !== undefined) throw new StillError('EIO', `the hook ${phase} ${failure}`);
  }

  /** Runs the command of a phase after which nothing can be helped: its failure is told. */
  async run(phase: HookPhase, facts: HookFacts, log: Narration, signal?: AbortSignal): Promise<void> {
    const failure = await this.#run(phase, facts, signal);
    if (failure !== undefined) log.warn({ phase }, `the hook ${phase} ${failure}`);
  }

  /** How the command failed; undefined where it did not, or there is none. */
  async #run(phase: HookPhase, facts: HookFacts, signal?: AbortSignal): Promise<string | undefined> {
    const command = this.commands[phase];
    if (command === undefined) return undefined;
    signal?.throwIfAborted();
    const child = spawn('sh', ['-c', command], {
      // A group of its own: Ctrl-C is ours to pass on.
      detached: true,
      stdio: ['ignore', 2, 2],
      env: { ...process.env, ...facts, STILLFS_PHASE: phase },
    });
    const kill = (): void => killGroup(child.pid);
    signal?.addEventListener('abort', kill, { once: true });
    try {
      return await new Promise((resolve) => {
        child.on('error', (error) => resolve(`could not be run: ${messageOf(error)}`));
        child.on('exit', (code, by) =>
          resolve(code === 0 ? undefined : `failed (${by ?? `exit code ${code}`})`),
        );
      });
    } finally {
      signal?.removeEventListener('abort', kill);
    }
  }
}

function killGroup(group: number | undefined): void {
  if (group === undefined) return;
  try {
    process.kill(-group, 'SIGTERM');
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

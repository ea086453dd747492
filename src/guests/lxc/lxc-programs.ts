import { execa } from 'execa';
import { StillError } from '../../errors.js';
import type { LxcName } from './container.js';

/** Whether a container runs, as LXC tells. */
export interface ContainerState {
  /** `running`, `stopped`, `frozen`, `starting`…; `gone` where LXC has no such container. */
  readonly state: string;
  /** The host's number of the container's first process, while it runs. */
  readonly pid: number | undefined;
}

const answerMilliseconds = 5000;

/** Asks LXC. EIO: it does not answer, or is not there. */
export async function containerState(name: LxcName, signal: AbortSignal): Promise<ContainerState> {
  const { stdout, stderr, failed } = await runLxc('lxc-info', name, ['-s', '-p', '-H'], signal);
  if (/doesn't exist/.test(`${stdout}${stderr}`)) return { state: 'gone', pid: undefined };
  const words = stdout.trim().split(/\s+/);
  const state = words.find((word) => /^[A-Z]+$/.test(word));
  if (failed || state === undefined)
    throw new StillError(
      'EIO',
      `lxc-info tells nothing of container ${name.name}: ${stderr.trim() || stdout}`,
    );
  const pid = Number(words.find((word) => /^\d+$/.test(word)) ?? Number.NaN);
  return { state: state.toLowerCase(), pid: Number.isInteger(pid) && pid > 0 ? pid : undefined };
}

/** Has LXC freeze a container, or let it go on. */
export async function lxcFreeze(
  program: 'lxc-freeze' | 'lxc-unfreeze',
  name: LxcName,
  signal?: AbortSignal,
): Promise<void> {
  const { stderr, failed } = await runLxc(program, name, [], signal);
  if (failed) throw new StillError('EIO', `${program} of container ${name.name} failed: ${stderr.trim()}`);
}

async function runLxc(
  program: string,
  { name, lxcPath }: LxcName,
  options: readonly string[],
  signal?: AbortSignal,
): Promise<{ stdout: string; stderr: string; failed: boolean }> {
  const { stdout, stderr, failed, shortMessage, isCanceled } = await execa(
    program,
    ['-P', lxcPath, '-n', name, ...options],
    {
      reject: false,
      stdin: 'ignore',
      timeout: answerMilliseconds,
      forceKillAfterDelay: 500,
      env: { LC_ALL: 'C' },
      ...(signal && { cancelSignal: signal }),
    },
  );
  if (isCanceled) signal?.throwIfAborted();
  return { stdout, stderr: stderr || (failed ? (shortMessage ?? '') : ''), failed };
}

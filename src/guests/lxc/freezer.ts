import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { hasCode } from '../../errors.js';
import type { LxcName } from './container.js';
import { containerState, lxcFreeze } from './lxc-programs.js';

/** What a container's processes are stopped by, all at once: its cgroup, where that is found, or LXC's own programs. */
export const freezer = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('cgroup'), folder: z.string() }),
  z.strictObject({ kind: z.literal('lxc'), name: z.string(), lxcPath: z.string() }),
]);
export type Freezer = z.output<typeof freezer>;

const pauseMilliseconds = 1;

/** The freezer of a container that runs, by its first process. Undefined: it stands still already, and is not ours to let go. */
export async function findFreezer(name: LxcName, pid: number): Promise<Freezer | undefined> {
  const folder = await cgroupOf(pid, name.name);
  if (folder === undefined) return { kind: 'lxc', ...name };
  const wanted = await readFile(join(folder, 'cgroup.freeze'), 'utf8');
  return wanted.trim() === '1' ? undefined : { kind: 'cgroup', folder };
}

/** Stops all processes; back when they stand still. After an abort or a failure some may stand still: `thaw` them. */
export async function freeze(it: Freezer, signal: AbortSignal): Promise<void> {
  if (it.kind === 'lxc') return lxcFreeze('lxc-freeze', it, signal);
  await writeFile(join(it.folder, 'cgroup.freeze'), '1');
  const events = join(it.folder, 'cgroup.events');
  while (!/^frozen 1$/m.test(await readFile(events, 'utf8')))
    await delay(pauseMilliseconds, undefined, { signal });
}

/** Lets them go on. A container that is not there any more, or was let go already, is fine. */
export async function thaw(it: Freezer): Promise<void> {
  if (it.kind === 'cgroup') {
    try {
      // No O_CREAT: that would make no file there, and the error not say what it is.
      await writeFile(join(it.folder, 'cgroup.freeze'), '0', { flag: 'r+' });
    } catch (error) {
      if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENODEV')) throw error;
    }
    return;
  }
  const { state } = await containerState(it, new AbortController().signal);
  if (state === 'frozen' || state === 'freezing') await lxcFreeze('lxc-unfreeze', it);
}

/**
 * The cgroup (version 2) that holds all of a container: `lxc.payload.NAME` or `lxc/NAME`, above what the container's own
 * init has made in it. Undefined where it has none that can be frozen.
 */
async function cgroupOf(pid: number, name: string): Promise<string | undefined> {
  const [, path] = /^0::(\/.*)$/m.exec(await readFile(`/proc/${pid}/cgroup`, 'utf8')) ?? [];
  const [, , root] =
    /^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 /m.exec(await readFile('/proc/self/mountinfo', 'utf8')) ?? [];
  if (path === undefined || root === undefined) return undefined;
  const parts = path.split('/');
  const own = parts.findIndex(
    (part) => part === name || part === `lxc.payload.${name}` || part.startsWith(`lxc.payload.${name}-`),
  );
  if (own === -1) return undefined;
  const folder = join(root, ...parts.slice(0, own + 1));
  try {
    await readFile(join(folder, 'cgroup.freeze'));
    return folder;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

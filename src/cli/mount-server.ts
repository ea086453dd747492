import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Mount } from './mount-table.js';

/** What a serving process calls itself in ps(1), so that it can be told from others. */
export function serverTitle(mountpoint: string): string {
  return `stillfs ${mountpoint}`;
}

/**
 * The process that serves a mount, if it can be seen. The kernel tells the connection of an open /dev/fuse in fdinfo;
 * where it is too old for that, the process is known by its title.
 */
export async function serverOf(mount: Mount): Promise<number | undefined> {
  const connection = Number(mount.device.split(':')[1]);
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    for (const descriptor of await fuseDescriptors(pid)) {
      const about = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8').catch(() => '');
      const told = /^fuse_connection:\s*(\d+)$/m.exec(about)?.[1];
      if (told === undefined ? await isTitled(pid, mount) : Number(told) === connection) return Number(pid);
    }
  }
  return undefined;
}

async function fuseDescriptors(pid: string): Promise<string[]> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const links = await Promise.all(
    descriptors.map((descriptor) => readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')),
  );
  return descriptors.filter((_, index) => links[index] === '/dev/fuse');
}

async function isTitled(pid: string, mount: Mount): Promise<boolean> {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return command.split('\0', 1)[0] === serverTitle(mount.mountpoint);
}

/** Waits until a process has ended, for at most some milliseconds. Returns whether it has. */
export async function processEnded(pid: number, milliseconds: number): Promise<boolean> {
  const started = await startTime(pid);
  const deadline = Date.now() + milliseconds;
  while (started !== undefined && (await startTime(pid)) === started) {
    if (Date.now() > deadline) return false;
    await delay(20);
  }
  return true;
}

/** When a living process was started, in clock ticks since boot (proc_pid_stat(5), field 22): tells a reused pid apart. */
async function startTime(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The command in parentheses may hold anything; the fields count from after it, the third (the state) first.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields?.[0];
  return state === 'Z' || state === 'X' ? undefined : fields?.[19];
}

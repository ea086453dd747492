import { readdir, readFile, readlink } from 'node:fs/promises';
import type { Mount } from './mount-table.js';
import { mountTable } from './mount-table.js';

/** Somebody who keeps a mount busy, for a person to read: `bash (pid 4711): its working folder /mnt/backups`. */
export type MountUser = string;

/**
 * Who keeps a mount busy: processes that stand in it, run from it, have a file of it open or mapped; loop devices; and
 * mounts beneath it. Only /proc and /sys are read, never the mount itself, which may not answer. Other users' processes
 * are seen by root alone.
 */
export async function mountUsers(mount: Mount): Promise<MountUser[]> {
  const users: MountUser[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const use = await useOf(`/proc/${entry}`, mount);
    if (use === undefined) continue;
    const command = (await orNothing(readFile(`/proc/${entry}/comm`, 'utf8')))?.trimEnd() ?? 'a process';
    users.push(`${command} (pid ${entry}): ${use}`);
  }
  users.push(...(await loopDevices(mount)), ...(await mountsBeneath(mount)));
  return users;
}

/** `who` as the end of a sentence. */
export function named(users: readonly MountUser[]): string {
  if (users.length > 0) return users.join('; ');
  return process.getuid?.() === 0 ? 'nobody that /proc shows' : 'nobody that you may see; root sees more';
}

async function useOf(process: string, mount: Mount): Promise<string | undefined> {
  for (const [link, what] of [
    ['cwd', 'its working folder'],
    ['root', 'its root folder'],
    ['exe', 'its program'],
  ] as const) {
    const path = await orNothing(readlink(`${process}/${link}`));
    if (path !== undefined && isWithin(path, mount.mountpoint)) return `${what} ${path}`;
  }
  for (const descriptor of (await orNothing(readdir(`${process}/fd`))) ?? []) {
    const path = await orNothing(readlink(`${process}/fd/${descriptor}`));
    if (path === undefined || !isWithin(path, mount.mountpoint)) continue;
    const about = await orNothing(readFile(`${process}/fdinfo/${descriptor}`, 'utf8'));
    const id = /^mnt_id:\s*(\d+)$/m.exec(about ?? '')?.[1];
    if (id === undefined || Number(id) === mount.id) return `open file ${path}`;
  }
  return mappedFile((await orNothing(readFile(`${process}/maps`, 'utf8'))) ?? '', mount);
}

/** 7f0c4000-7f0c5000 r--p 00000000 00:3b 4711    /path, proc(5): the device is in hexadecimal. */
function mappedFile(maps: string, mount: Mount): string | undefined {
  const [major, minor] = mount.device.split(':').map((part) => Number(part).toString(16).padStart(2, '0'));
  const device = ` ${major}:${minor} `;
  const line = maps.split('\n').find((each) => each.includes(device));
  const path = /^\S+ \S+ \S+ \S+ \S+\s+(.*)$/.exec(line ?? '')?.[1];
  return path === undefined ? undefined : `mapped file ${path}`;
}

async function loopDevices(mount: Mount): Promise<MountUser[]> {
  const users: MountUser[] = [];
  for (const device of (await orNothing(readdir('/sys/block'))) ?? []) {
    if (!device.startsWith('loop')) continue;
    const file = await orNothing(readFile(`/sys/block/${device}/loop/backing_file`, 'utf8'));
    if (file !== undefined && isWithin(file.trimEnd(), mount.mountpoint)) {
      users.push(
        `/dev/${device}: a loop device over ${file.trimEnd()} (losetup -d /dev/${device} lets go of it)`,
      );
    }
  }
  return users;
}

async function mountsBeneath(mount: Mount): Promise<MountUser[]> {
  const table = await mountTable();
  return table
    .filter((other) => other.id !== mount.id && other.mountpoint.startsWith(`${mount.mountpoint}/`))
    .map((other) => `${other.mountpoint}: another mount (${other.type})`);
}

/** Whether a path is a folder or lies within it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** Processes end while they are looked at, and others' are not ours to see: both mean there is nothing to tell. */
async function orNothing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch {
    return undefined;
  }
}

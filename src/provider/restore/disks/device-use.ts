import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../../errors.js';

/** open(2): what of a descriptor's flags tells whether it is for writing. */
const accessMode = 0o3;

/**
 * The programs that have a block device, or a partition of it, open for writing, as people know them: `qemu-system-x86 (1234)`. The
 * kernel refuses an exclusive open only for file systems, RAIDs and the like: a VM that uses a device does not show there.
 */
export async function writersOf(device: number): Promise<string[]> {
  const devices = new Set([device, ...(await partitionsOf(device))]);
  const writers: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) continue;
    if (await writes(pid, devices)) {
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(gone);
      writers.push(`${name?.trim() ?? 'a process'} (${pid})`);
    }
  }
  return writers;
}

async function writes(pid: string, devices: ReadonlySet<number>): Promise<boolean> {
  for (const descriptor of (await readdir(`/proc/${pid}/fd`).catch(gone)) ?? []) {
    const path = `/proc/${pid}/fd/${descriptor}`;
    // What is open elsewhere may lie on a server that never answers a stat.
    if (!(await readlink(path).catch(gone))?.startsWith('/dev/')) continue;
    const stats = await stat(path).catch(gone);
    if (!stats?.isBlockDevice() || !devices.has(stats.rdev)) continue;
    const facts = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8').catch(gone);
    const flags = Number.parseInt(/^flags:\s*([0-7]+)/m.exec(facts ?? '')?.[1] ?? '0', 8);
    if ((flags & accessMode) !== 0) return true;
  }
  return false;
}

async function partitionsOf(device: number): Promise<number[]> {
  const folder = sysfsFolder(device);
  const found: number[] = [];
  for (const entry of (await readdir(folder, { withFileTypes: true }).catch(gone)) ?? []) {
    if (!entry.isDirectory()) continue;
    const text = await readFile(join(folder, entry.name, 'partition'), 'utf8').catch(gone);
    const [, major, minor] =
      /^(\d+):(\d+)/.exec((text && (await readFile(join(folder, entry.name, 'dev'), 'utf8'))) ?? '') ?? [];
    if (major !== undefined && minor !== undefined) found.push(deviceNumber(Number(major), Number(minor)));
  }
  return found;
}

/** The size of a block device in bytes. sysfs counts in 512 bytes, whatever its sectors are. */
export async function deviceBytes(device: number): Promise<number> {
  return Number(await readFile(join(sysfsFolder(device), 'size'), 'utf8')) * 512;
}

/** glibc's makedev(3), gnu_dev_major and gnu_dev_minor: a device's number has its major and minor number in turns. */
function deviceNumber(major: number, minor: number): number {
  return (minor & 0xff) + ((major & 0xfff) << 8) + (minor >>> 8) * 2 ** 20;
}

function sysfsFolder(device: number): string {
  const major = Math.floor(device / 2 ** 8) & 0xfff;
  const minor = (device & 0xff) + Math.floor(device / 2 ** 20) * 2 ** 8;
  return `/sys/dev/block/${major}:${minor}`;
}

/** Processes come and go while they are looked at, and partitions too. */
function gone(error: unknown): undefined {
  const passing = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR', 'EINVAL'] as const;
  if (!passing.some((code) => hasCode(error, code))) throw error;
}

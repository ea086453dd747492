import { open } from 'node:fs/promises';
import { hasCode, StillError } from '../errors.js';
import { nameFromText } from '../name.js';
import { timeFromNanoseconds } from '../time.js';
import type { GuestFile } from './guest.js';

/** A configuration is a page of text; what is larger is something else. */
const mostBytes = 1024 * 1024;

/** A guest's configuration and that of its firewall, as they lie at these paths now. One that is not there is left out. */
export async function guestFiles(
  configuration: string | undefined,
  firewall: string | undefined,
): Promise<readonly GuestFile[]> {
  const files: GuestFile[] = [];
  for (const [name, path] of [
    ['guest.conf', configuration],
    ['firewall.conf', firewall],
  ] as const) {
    const file = path === undefined ? undefined : await readSmall(name, path);
    if (file) files.push(file);
  }
  return files;
}

async function readSmall(name: string, path: string): Promise<GuestFile | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { size, mtimeNs } = await file.stat({ bigint: true });
      if (size > mostBytes)
        throw new StillError('EFBIG', `${path} has ${size} bytes: that is no guest's configuration`);
      return {
        name: nameFromText(name),
        bytes: await file.readFile(),
        modified: timeFromNanoseconds(mtimeNs),
      };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

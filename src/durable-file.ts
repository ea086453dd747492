import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode } from './errors.js';

/** How a file is written: permissions (0600 unless said), and the name beside it under which it comes to be. */
export interface DurableFileOptions {
  readonly mode?: number;
  readonly beside?: string;
}

/** Writes a file so that it is either as before or whole and new, whatever happens, and on the disk when this is back. */
export async function writeDurably(
  path: string,
  text: string,
  { mode = 0o600, beside = `${path}.new` }: DurableFileOptions = {},
): Promise<void> {
  const file = await open(beside, 'w', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncFolder(dirname(path));
}

/** Removes a file, for good when this is back, and what was half written of it. One that is not there is fine. */
export async function removeDurably(path: string): Promise<void> {
  await rm(`${path}.new`, { force: true });
  await rm(path, { force: true });
  await syncFolder(dirname(path));
}

/** Undefined where there is no such file. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Brings a folder's names onto the disk: what was made, renamed or removed in it. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

import { readdir } from 'node:fs/promises';
import { StoreFolder } from '../../disks/store-folder.js';
import { codeOf, hasCode, messageOf, StillError } from '../../errors.js';
import { nameFromText } from '../../name.js';
import { isGuestName } from '../../stores/directory/directory-store.js';

/** Opens a store's folder; the caller closes it. Errors say what to do. */
export async function openStoreFolder(path: string, signal?: AbortSignal): Promise<StoreFolder> {
  try {
    return await StoreFolder.open(path, undefined, signal);
  } catch (error) {
    const what = hasCode(error, 'ENOENT') ? 'there is no such folder' : messageOf(error);
    throw new StillError(codeOf(error), `the store ${path} can't be opened: ${what}`);
  }
}

/** The guests that have a folder in a store, in the order of their names. */
export async function storedGuests({ path }: StoreFolder): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && isGuestName(nameFromText(entry.name)))
    .map(({ name }) => name)
    .sort();
}

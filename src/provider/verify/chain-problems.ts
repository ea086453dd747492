import { join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import { messageOf } from '../../errors.js';
import { nameToText } from '../../name.js';
import type { BackupDescription } from '../../stores/directory/backup-json.js';
import type { DiskPart } from '../../stores/directory/stored-disks.js';
import { imageBasis, type StoredImage } from '../stored/based-on.js';
import { readDescription } from '../stored/stored-backups.js';

/**
 * Compares what an image is based on with what `backup.json` says of it: the parent is there, is the one that is spoken of, and
 * has the state that the increment is relative to.
 */
export async function chainProblems(
  { store, guest, backup }: { readonly store: StoreFolder; readonly guest: string; readonly backup: string },
  disk: DiskPart,
  description: BackupDescription | undefined,
  signal: AbortSignal,
): Promise<{ readonly basis: StoredImage | undefined; readonly problems: readonly string[] }> {
  const file = nameToText(disk.path);
  const described = description?.disks?.[nameToText(disk.name)];
  const problems: string[] = [];
  let basis: StoredImage | undefined;
  try {
    const found = await imageBasis(store, { guest, backup, file }, signal);
    basis = found.image;
    if (described?.size !== undefined && described.size !== found.sizeBytes)
      problems.push(`${file} is a disk of ${found.sizeBytes} bytes; backup.json speaks of ${described.size}`);
  } catch (error) {
    signal.throwIfAborted();
    // Opening the image tells it again, as damage of the disk.
    return { basis: undefined, problems: [`it can't be told what ${file} is based on: ${messageOf(error)}`] };
  }
  const parent = described?.parent;
  if (parent === undefined) return { basis, problems };
  const shown = basis ? `${basis.guest}/${basis.backup}/${basis.file}` : 'nothing';
  if ((basis && `${basis.guest}/${basis.backup}`) !== (parent === null ? undefined : `${guest}/${parent}`))
    problems.push(`${file} is based on ${shown}; backup.json says ${parent ?? 'that it stands alone'}`);
  if (parent === null || !basis) return { basis, problems };
  try {
    const below = await readDescription(join(store.path, guest), parent);
    const disks = Object.values(below?.disks ?? {});
    const its = disks.find((each) => each.file === basis?.file);
    if (below && !its) problems.push(`backup.json of ${parent} does not speak of ${basis.file}`);
    else if (its?.id !== undefined && typeof described?.base === 'string' && its.id !== described.base)
      problems.push(
        `${file} holds what changed since the state ${described.base}; ${parent} has the state ${its.id}`,
      );
  } catch (error) {
    problems.push(`what ${file} is based on: ${messageOf(error)}`);
  }
  return { basis, problems };
}

import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import type { ArchiveCache } from '../archives/hosted/archive-task.js';
import type { Settings } from '../config/settings.js';
import { messageOf } from '../errors.js';
import type { Logger } from '../log.js';

/** Makes the cache folder. Where that fails the mount works all the same: each archive is read through anew. */
export async function openCache(
  { folder, limit }: Settings['cache'],
  log: Logger,
): Promise<ArchiveCache | undefined> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await access(folder, constants.W_OK);
    return { folder, mostBytes: limit };
  } catch (error) {
    log.warn(
      `indexes of archives are not kept from mount to mount, the cache folder ${folder} can't be used: ${messageOf(error)}`,
    );
    return undefined;
  }
}

import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { hasCode } from '../../errors.js';

const run = promisify(execFile);

/** Removes a folder with all that is in it; one that is not there is fine. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    // A container can have made folders in one another so deep that no path leads to them: rm(1) steps down.
    if (!hasCode(error, 'ENAMETOOLONG')) throw error;
    await run('rm', ['-rf', '--one-file-system', '--', path]);
  }
}

import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { snapshotsFolder } from '../provider/mounted/mounted-snapshot.js';
import { CommandError, ExitCode } from './exit-code.js';
import { isStillfs, mountTable } from './mount-table.js';

/** The mountpoint that shows a guest: the one that is said, or the only one of this machine's. */
export async function mountOf(guest: string, said: string | undefined): Promise<string> {
  const mounts =
    said === undefined
      ? (await mountTable()).filter(isStillfs).map(({ mountpoint }) => mountpoint)
      : [resolve(said)];
  const found: string[] = [];
  for (const mountpoint of new Set(mounts)) {
    const shown = await access(snapshotsFolder(mountpoint, guest)).then(
      () => true,
      () => false,
    );
    if (shown) found.push(mountpoint);
  }
  const [only, ...others] = found;
  if (only === undefined) {
    const where = said === undefined ? 'no stillfs mount here shows' : `${said} does not show`;
    throw new CommandError(
      ExitCode.failure,
      `${where} guest ${guest}; mount it first: stillfs mount --guest …`,
    );
  }
  if (others.length > 0) {
    const places = found.join(', ');
    throw new CommandError(
      ExitCode.usage,
      `several mounts show guest ${guest}; say which by --mount: ${places}`,
    );
  }
  return only;
}

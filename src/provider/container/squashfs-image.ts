import { open, stat } from 'node:fs/promises';
import type { Name } from '../../name.js';
import type { Packing } from './container-archive.js';
import { writeExcludeFile } from './exclude-file.js';
import { RunningProgram } from './running-program.js';

const lookMilliseconds = 1000;

/** Packs a container by mksquashfs, zstd inside. What squashfs can't hold, ACLs, is told of. It keeps to no bandwidth. */
export async function packSquashfs(packing: Packing, signal: AbortSignal): Promise<void> {
  const { root, target, log, bandwidth, progress } = packing;
  if (bandwidth.isLimited) log.warn({}, 'mksquashfs reads as fast as it can: it keeps to no bandwidth');
  const list = await writeExcludeFile(packing, lineOf);
  const exclude = list === undefined ? [] : ['-wildcards', '-ef', list];
  // Otherwise a file that can't be read becomes an empty one.
  const how = ['-comp', 'zstd', '-noappend', '-exit-on-error', '-quiet', '-no-progress', '-no-recovery'];
  const program = RunningProgram.start('mksquashfs', [root, target, ...how, ...exclude]);
  program.output.resume();
  const stop = (): void => program.kill();
  signal.addEventListener('abort', stop, { once: true });
  const look = (): void => {
    stat(target).then(
      ({ size }) => progress(size),
      () => undefined,
    );
  };
  const looking = setInterval(look, lookMilliseconds);
  try {
    signal.throwIfAborted();
    const words = await program.succeed();
    if (words.some((line) => line.includes('system.posix_acl_')))
      log.warn({}, 'squashfs holds no ACLs: those of this container are not in the backup');
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    clearInterval(looking);
    signal.removeEventListener('abort', stop);
    program.kill();
    await program.ended;
  }
  const file = await open(target, 'r+');
  try {
    await file.chmod(0o600);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Every char that may mean something to mksquashfs, or to the fnmatch(3) that it uses, is escaped. */
function lineOf(path: Name): Name | undefined {
  if (path.includes('\n')) return undefined;
  const escaped = path.replace(/[^A-Za-z0-9/_\x80-\xff-]/g, '\\$&');
  // It takes a first `\` of a line away.
  return (escaped.startsWith('\\') ? `\\${escaped}` : escaped) as Name;
}

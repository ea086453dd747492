import { failureOf, RunningProgram } from '../../container/running-program.js';
import { everything } from '../../container/tar-archive.js';

/** Gives a folder as a tar archive, with all that Linux knows of its files but sockets, by GNU tar. EIO: not all of it can be read. */
export async function* folderAsTar(
  folder: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const args = [
    '--create',
    '--file=-',
    '--format=posix',
    '--sparse',
    ...everything,
    '--warning=no-file-ignored',
    '.',
  ];
  const tar = RunningProgram.start('tar', args, { folder });
  const stop = (): void => tar.kill();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const piece of tar.output) {
      if (!Buffer.isBuffer(piece)) throw new TypeError('tar gave something else than bytes');
      yield piece;
    }
    const ended = await tar.ended;
    signal.throwIfAborted();
    if (ended.status !== 0) throw failureOf('tar', ended);
  } finally {
    signal.removeEventListener('abort', stop);
    tar.kill();
    await tar.ended;
  }
}

import { failureOf, RunningProgram } from '../../container/running-program.js';

/** Unpacks a squashfs image, an open file, into a folder that is there, by unsquashfs. What can't be written is a failure. */
export async function extractSquashfs(image: number, folder: string, signal: AbortSignal): Promise<void> {
  const how = ['-force', '-dest', '.', '-no-progress', '-quiet'];
  const program = RunningProgram.start('unsquashfs', [...how, '/proc/self/fd/3'], { folder, third: image });
  program.output.resume();
  const stop = (): void => program.kill();
  signal.addEventListener('abort', stop, { once: true });
  try {
    signal.throwIfAborted();
    const ended = await program.ended;
    signal.throwIfAborted();
    if (ended.status !== 0) throw failureOf('unsquashfs', ended);
  } finally {
    signal.removeEventListener('abort', stop);
    program.kill();
    await program.ended;
  }
}

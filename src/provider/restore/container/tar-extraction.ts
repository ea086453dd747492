import { hasCode } from '../../../errors.js';
import { failureOf, RunningProgram } from '../../container/running-program.js';
import { everything } from '../../container/tar-archive.js';

const extraction = [
  '--extract',
  '--file=-',
  '--same-owner',
  '--same-permissions',
  '--delay-directory-restore',
];

/** Absolute names are taken for relative ones. */
const harmless = /^tar: Removing leading `.*' from /;

/**
 * Extracts a tar archive into a folder, bytes as they come, by GNU tar: names that lead out of the folder, also through links in
 * it, are refused there. What can't be written is a failure. `options` tell how the archive is compressed.
 */
export async function extractTar(
  archive: AsyncIterable<Uint8Array>,
  folder: string,
  options: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const quiet = ['--warning=no-timestamp', '--warning=no-unknown-keyword'];
  const args = [...extraction, ...everything, ...quiet, ...options];
  const tar = RunningProgram.start('tar', args, { input: 'pipe', folder });
  tar.output.resume();
  try {
    await feed(archive, tar, signal);
    const ended = await tar.ended;
    // Attributes and ACLs that could not be written are only told of; and so is what is as it should be.
    const words = ended.words.filter((line) => !harmless.test(line));
    if (ended.status !== 0 || words.length > 0) throw failureOf('tar', { ...ended, words });
  } finally {
    tar.kill();
    await tar.ended;
  }
}

/** Gives a program its input. All of it is read, also where the program needs no more: its last bytes may be damaged. */
async function feed(
  archive: AsyncIterable<Uint8Array>,
  program: RunningProgram,
  signal: AbortSignal,
): Promise<void> {
  const { input } = program;
  const stop = (): void => program.kill();
  signal.addEventListener('abort', stop, { once: true });
  let takes = true;
  try {
    for await (const piece of archive) {
      signal.throwIfAborted();
      if (takes) takes = await written(input, piece);
      if (!takes && (await hasFailed(program))) return;
    }
  } finally {
    signal.removeEventListener('abort', stop);
    input.end();
  }
  signal.throwIfAborted();
}

/** Writes; says whether the program takes more. */
function written(input: NodeJS.WritableStream, piece: Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    input.write(piece, (error) => {
      if (!error) resolve(true);
      else if (hasCode(error, 'EPIPE') || hasCode(error, 'ECONNRESET')) resolve(false);
      else reject(error);
    });
  });
}

async function hasFailed(program: RunningProgram): Promise<boolean> {
  return (await program.ended).status !== 0;
}

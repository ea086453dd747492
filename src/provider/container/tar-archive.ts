import { type FileHandle, mkdir, open, writeFile } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { hasCode, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { Narration } from '../job/narration.js';
import type { Packing } from './container-archive.js';
import { writeExcludeFile } from './exclude-file.js';
import { type Ended, failureOf, RunningProgram } from './running-program.js';

/** What keeps all that Linux knows of a file. A pattern of attributes alone makes GNU tar keep those that are not `user.`. */
export const everything = ['--numeric-owner', '--acls', '--xattrs', '--xattrs-include=*'];
/** Times to the nanosecond. When a file was last read, and its inode changed, nobody can restore. */
const pax = ['--format=posix', '--pax-option=delete=atime,delete=ctime'];
const mostTold = 20;

/** Packs a container by GNU tar, as it is or compressed by zstd. */
export async function packTar(packing: Packing, compressed: boolean, signal: AbortSignal): Promise<void> {
  const file = await open(packing.target, 'wx', 0o600);
  try {
    if (compressed) await packCompressed(packing, file, signal);
    else await packPlain(packing, file, signal);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function packPlain(packing: Packing, file: FileHandle, signal: AbortSignal): Promise<void> {
  try {
    await packInto(packing, (pieces) => writeFile(file, pieces), signal);
  } catch (error) {
    if (!hasCode(error, 'ENOSPC') && !hasCode(error, 'EDQUOT')) throw error;
    throw new StillError('ENOSPC', `the store is full: ${packing.target} can't be written`, { cause: error });
  }
}

async function packCompressed(packing: Packing, file: FileHandle, signal: AbortSignal): Promise<void> {
  const zstd = RunningProgram.start('zstd', ['-q', '-T0', '-c'], { input: 'pipe', output: file.fd });
  await packThrough(packing, zstd, signal);
}

/** Copies a container to a plain folder, by GNU tar on both sides: what a folder on that store can't hold is a failure. */
export async function copyToFolder(packing: Packing, signal: AbortSignal): Promise<void> {
  const { target } = packing;
  await mkdir(target, { mode: 0o700 });
  const how = ['--extract', '--file=-', '--same-permissions', '--same-owner', '--delay-directory-restore'];
  const args = [...how, ...everything, '--warning=no-timestamp', `--directory=${target}`];
  const words = await packThrough(packing, RunningProgram.start('tar', args, { input: 'pipe' }), signal);
  // Attributes and ACLs that could not be written are only told of.
  if (words.length > 0) throw failureOf('tar', { status: 0, words });
  const sync = RunningProgram.start('sync', ['--file-system', target]);
  await sync.succeed();
}

/** Packs into the input of a program, and waits for both. Gives what the program said. */
async function packThrough(
  packing: Packing,
  program: RunningProgram,
  signal: AbortSignal,
): Promise<readonly string[]> {
  try {
    await packInto(packing, program.input, signal);
    return await program.succeed();
  } catch (error) {
    signal.throwIfAborted();
    // It took no more: why, is for it to say.
    if (isBroken(error)) throw failureOf(program.name, await program.ended);
    throw error;
  } finally {
    program.kill();
    await program.ended;
  }
}

/** Whether a pipe broke, or was closed before all was written. */
function isBroken(error: unknown): boolean {
  const isClosed = error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE';
  return isClosed || hasCode(error, 'EPIPE');
}

type Sink = Writable | ((pieces: AsyncIterable<Buffer>) => Promise<void>);

async function packInto(packing: Packing, into: Sink, signal: AbortSignal): Promise<void> {
  const list = await writeExcludeFile(packing, lineOf);
  const exclude = list === undefined ? [] : ['--anchored', '--no-wildcards', `--exclude-from=${list}`];
  const how = ['--create', '--file=-', ...pax, ...everything, '--sparse', ...exclude];
  const tar = RunningProgram.start('tar', [...how, `--directory=${packing.root}`, '.']);
  try {
    await pipeline(tar.output, relayed(packing, signal), into, { signal });
    judge(packing, await tar.ended);
  } finally {
    tar.kill();
    await tar.ended;
  }
}

/** GNU tar cuts what C's isspace(3) calls so off the end of a line. */
function lineOf(path: Name): Name | undefined {
  return /\n|[\t-\r ]$/.test(path) ? undefined : (`./${path}` as Name);
}

function relayed({ bandwidth, progress }: Packing, signal: AbortSignal) {
  return async function* (source: AsyncIterable<unknown>): AsyncGenerator<Buffer, void, undefined> {
    let done = 0;
    for await (const piece of source) {
      if (!Buffer.isBuffer(piece)) throw new TypeError('tar gave something else than bytes');
      await bandwidth.admit(piece.length, signal);
      done += piece.length;
      progress(done);
      yield piece;
    }
  };
}

/** GNU tar ends with 1 when files were not as they had been: fine where they may change, and nowhere else. */
function judge({ live, log }: Packing, ended: Ended): void {
  const changed = ended.status === 1 && live;
  if (ended.status !== 0 && !changed) throw failureOf('tar', ended);
  tellWords(ended.words, changed ? log.warn.bind(log) : log.info.bind(log));
}

function tellWords(words: readonly string[], tell: Narration['info']): void {
  for (const line of words.slice(0, mostTold)) tell({}, line);
  if (words.length > mostTold) tell({}, `tar: and ${words.length - mostTold} more lines`);
}

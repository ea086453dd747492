import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Readable, type Writable } from 'node:stream';
import { constants, createGunzip } from 'node:zlib';
import type { Disk } from '../../disks/disk.js';
import { hasCode, messageOf, StillError } from '../../errors.js';
import { type Compression, programOf } from './compression.js';

/** Bytes that are read of the archive at a time. */
const readBytes = 256 << 10;
const mostComplaint = 1000;

/**
 * The bytes that a compressed archive holds, piece by piece. Whoever ends the iteration ends what is behind it. EIO: the archive is damaged or cut short there; EOPNOTSUPP: the program
 * that unpacks it is missing. `progress` is told how many of the archive's bytes were read.
 */
export async function* decompress(
  archive: Disk,
  compression: Exclude<Compression, 'none'>,
  signal: AbortSignal,
  progress?: (bytes: number) => void,
): AsyncGenerator<Buffer, void, void> {
  const source = Readable.from(pieces(archive, signal, progress), { objectMode: false });
  if (compression === 'gzip') yield* gunzipped(source, signal);
  else yield* unpacked(source, programOf[compression], signal);
}

async function* pieces(
  archive: Disk,
  signal: AbortSignal,
  progress?: (bytes: number) => void,
): AsyncGenerator<Buffer, void, void> {
  for (let at = 0; at < archive.size; at += readBytes) {
    const piece = Buffer.allocUnsafe(Math.min(readBytes, archive.size - at));
    await archive.read(at, piece, signal);
    progress?.(at + piece.length);
    yield piece;
  }
}

async function* gunzipped(source: Readable, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
  // With this flush what comes before a missing end is given; the tar archive in it tells that it was cut short.
  const gunzip = createGunzip({ chunkSize: readBytes, finishFlush: constants.Z_SYNC_FLUSH });
  const stop = (): void => {
    gunzip.destroy(asError(signal.reason));
  };
  signal.addEventListener('abort', stop, { once: true });
  // Its error ends the iteration below.
  source.on('error', (error) => gunzip.destroy(error));
  source.pipe(gunzip);
  try {
    for await (const piece of gunzip) yield bufferOf(piece);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StillError) throw error;
    throw new StillError('EIO', `gzip data are damaged: ${messageOf(error)}`, { cause: error });
  } finally {
    signal.removeEventListener('abort', stop);
    source.destroy();
    gunzip.destroy();
  }
}

async function* unpacked(
  source: Readable,
  [program = '', ...args]: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = endOf(child);
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    if (complaint.length < mostComplaint) complaint += text.toString('latin1', 0, mostComplaint);
  });
  let unreadable: unknown;
  const stop = (): void => {
    child.kill('SIGKILL');
  };
  source.on('error', (error) => {
    unreadable = error;
    stop();
  });
  // A program that ends before it has read everything tells why by its status.
  child.stdin.on('error', () => source.destroy());
  signal.addEventListener('abort', stop, { once: true });
  source.pipe(child.stdin);
  try {
    for await (const piece of child.stdout) yield bufferOf(piece);
    const status = await ended;
    signal.throwIfAborted();
    if (unreadable !== undefined) throw unreadable;
    if (status instanceof Error) {
      if (!hasCode(status, 'ENOENT')) throw status;
      throw new StillError('EOPNOTSUPP', `${program} unpacks this archive and is not installed`, {
        cause: status,
      });
    }
    if (status !== 0)
      throw new StillError('EIO', `${program} can't go on: ${complaint.trim() || `it ended with ${status}`}`);
  } finally {
    signal.removeEventListener('abort', stop);
    source.destroy();
    child.stdout.destroy();
    child.kill('SIGKILL');
    await ended;
  }
}

type Program = ChildProcessByStdio<Writable, Readable, Readable>;

/** What a program ended with, or why it could not be started. */
async function endOf(child: Program): Promise<number | string | Error> {
  try {
    const [status, killedBy] = await once(child, 'exit');
    return typeof status === 'number' ? status : String(killedBy);
  } catch (error) {
    return asError(error);
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}

function bufferOf(piece: unknown): Buffer {
  if (Buffer.isBuffer(piece)) return piece;
  throw new TypeError('a stream of bytes gave something else');
}

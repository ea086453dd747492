import { execFile } from 'node:child_process';
import { chmod, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type NbdWriter, openNbdWriter } from '../../disks/nbd/nbd-writer.js';
import {
  type RunningDaemon,
  startStorageDaemon,
  untilReady,
} from '../../disks/storage-daemon/running-daemon.js';
import { codeOf, hasCode, messageOf, StillError } from '../../errors.js';

const run = promisify(execFile);

/** A store may take this long to bring what was written onto its disk, in milliseconds. */
const patienceMilliseconds = 15 * 60_000;
const connectionsPerImage = 2;

/** An image that is to be made. */
export interface NewImage {
  /** A path that is not there yet. */
  readonly path: string;
  readonly sizeBytes: number;
  /** A qcow2 image, relative to the new one's folder. */
  readonly backingFile?: string;
}

/** Images that are being written, through a `qemu-storage-daemon`, which goes when we go. */
export class ImageServer {
  private constructor(
    private readonly images: readonly NewImage[],
    readonly writers: readonly NbdWriter[],
    private readonly daemon: RunningDaemon,
  ) {}

  /** Makes empty images and opens them for writing. `folder` is for its socket: private, and short. */
  static async start(images: readonly NewImage[], folder: string, signal: AbortSignal): Promise<ImageServer> {
    for (const image of images) await createImage(image, signal);
    const path = join(folder, 'images');
    const daemon = startStorageDaemon(daemonOptions(images, path));
    const writers: NbdWriter[] = [];
    try {
      for (const [index, image] of images.entries()) {
        const options = {
          address: { path },
          exportName: `d${index}`,
          connections: connectionsPerImage,
          silence: patienceMilliseconds,
        };
        const opening = (): Promise<NbdWriter> => openNbdWriter(options, signal);
        writers.push(await untilReady(daemon, image.path, opening, signal));
      }
      return new ImageServer(images, writers, daemon);
    } catch (error) {
      for (const writer of writers) await writer.close();
      await daemon.stop();
      throw error;
    }
  }

  /** What a write failed with, told by the image that it was for. */
  async failure(index: number, error: unknown): Promise<StillError> {
    const path = this.images[index]?.path ?? 'an image';
    if (hasCode(error, 'ENOSPC') || hasCode(error, 'EDQUOT'))
      return new StillError(codeOf(error), `the store is full: ${path} can't be written`, { cause: error });
    const ended = hasCode(error, 'EIO') ? await this.daemon.endedMeanwhile() : undefined;
    return new StillError(codeOf(error), `${path} can't be written: ${ended ?? messageOf(error)}`);
  }

  /** Brings all images onto the disk and lets go of them. Gives what each takes up, in bytes. */
  async finish(signal: AbortSignal): Promise<number[]> {
    for (const [index, writer] of this.writers.entries()) {
      try {
        await writer.flush(signal);
      } catch (error) {
        signal.throwIfAborted();
        throw await this.failure(index, error);
      }
    }
    await this.close();
    const stored: number[] = [];
    for (const { path } of this.images) {
      const file = await open(path, 'r+');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
      stored.push((await stat(path)).blocks * 512);
    }
    return stored;
  }

  /** Ends the daemon. */
  async close(): Promise<void> {
    for (const writer of this.writers) await writer.close();
    await this.daemon.stop();
  }
}

async function createImage({ path, sizeBytes, backingFile }: NewImage, signal: AbortSignal): Promise<void> {
  // "-u": the parent was looked at already, by narrower rules than QEMU's, and is not opened here.
  const backing = backingFile === undefined ? [] : ['-u', '-b', backingFile, '-F', 'qcow2'];
  const format = ['-f', 'qcow2', '-o', 'compat=1.1,cluster_size=65536'];
  try {
    await run('qemu-img', ['create', '-q', ...format, ...backing, path, String(sizeBytes)], { signal });
    await chmod(path, 0o600);
  } catch (error) {
    signal.throwIfAborted();
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    const why = hasCode(error, 'ENOENT') ? 'qemu-img is needed (Debian: apt install qemu-utils)' : said;
    throw new StillError(
      /No space left/.test(said) ? 'ENOSPC' : 'EIO',
      `${path} can't be made: ${why || messageOf(error)}`,
    );
  }
}

function daemonOptions(images: readonly NewImage[], socket: string): string[] {
  const connections = images.length * connectionsPerImage;
  return [
    ...['--nbd-server', `addr.type=unix,addr.path=${socket},max-connections=${connections}`],
    ...images.flatMap(({ path }, index) => {
      const file = { driver: 'file', 'node-name': `f${index}`, filename: path, discard: 'unmap' };
      // Only whole clusters are written, so nothing is ever filled up from the backing file: it is not opened.
      const image = {
        driver: 'qcow2',
        'node-name': `d${index}`,
        file: `f${index}`,
        backing: null,
        discard: 'unmap',
      };
      return [
        ...['--blockdev', JSON.stringify(file), '--blockdev', JSON.stringify(image)],
        ...['--export', `type=nbd,id=d${index},node-name=d${index},name=d${index},writable=on`],
      ];
    }),
  ];
}

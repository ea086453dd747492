import { MessageChannel } from 'node:worker_threads';
import type { Disk } from '../../disks/disk.js';
import { serveDisk } from '../../disks/port/serve-disk.js';
import { hostTree } from '../../tree/port/host-tree.js';
import { WaitingWorker } from '../../tree/port/waiting-worker.js';
import type { Tree } from '../../tree/tree.js';
import type { ArchiveFormat } from '../archive-format.js';
import { type ArchiveCache, type ArchiveTask, parseTold } from './archive-task.js';

/** The heap of an archive's worker, MiB. Indexes and caches lie in buffers, which have limits of their own. */
const memoryLimit = 512;
/** Seconds that an archive's worker may be silent. What it does at a stretch takes milliseconds. */
const mostSilence = 20;

export interface HostedArchive {
  readonly format: ArchiveFormat;
  /** What stands for the archive in errors and messages: its path. */
  readonly name: string;
  /** What tells this archive, and this state of it, from all others: path, size, times and inode, as text. */
  readonly identity: string;
  /** Called with each sentence about what of the archive can't be shown; some come as more of it is read. */
  readonly problem: (sentence: string) => void;
  /** Called now and then while the index is made, with how many bytes of the archive are done. */
  readonly progress: (bytes: number) => void;
}

/** Opens archives as trees, each in a worker of its own, and keeps one worker ready for the next. */
export class ArchiveHost {
  readonly #cache: ArchiveCache | undefined;
  readonly #worker = new WaitingWorker(new URL('./archive-worker.js', import.meta.url), memoryLimit);

  /** Without a cache an index lasts as long as the tree, and what was decompressed too. */
  constructor(cache?: ArchiveCache) {
    this.#cache = cache;
  }

  /** Says that an archive may soon be opened. */
  prepare(): void {
    this.#worker.prepare();
  }

  /**
   * Opens an archive as a tree, and takes the archive over: it is closed when the worker has ended. A worker that dies is
   * EIO for this tree alone. Errors: what opening an archive of its format tells.
   */
  async open(archive: Disk, options: HostedArchive, signal: AbortSignal): Promise<Tree> {
    const { format, name, identity } = options;
    const disk = new MessageChannel();
    const told = new MessageChannel();
    serveDisk(archive, disk.port1);
    told.port1.on('message', (message: unknown) => {
      const news = parseTold(message);
      if (news.kind === 'problem') options.problem(news.sentence);
      else options.progress(news.bytes);
    });
    const data: ArchiveTask = {
      disk: disk.port2,
      told: told.port2,
      size: archive.size,
      name,
      format,
      identity,
      cache: this.#cache,
    };
    const tree = await hostTree({
      name,
      worker: this.#worker.take(),
      data,
      transfer: [disk.port2, told.port2],
      silence: mostSilence,
      signal,
      ended: async () => {
        disk.port1.close();
        told.port1.close();
        await archive.close();
      },
    });
    this.prepare();
    return tree;
  }

  /** Trees that are open go on. */
  close(): Promise<void> {
    return this.#worker.close();
  }
}

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Disk } from '../../disks/disk.js';
import { serveDisk } from '../../disks/port/serve-disk.js';
import { WaitingWorker } from '../../port/waiting-worker.js';
import { WorkerService } from '../../port/worker-service.js';
import { hostTree } from '../../tree/port/host-tree.js';
import type { Tree } from '../../tree/tree.js';
import type { ArchiveFormat } from '../archive-format.js';
import type { CachePlace } from '../compressed/cache-place.js';
import type { Compression } from '../compressed/compression.js';
import { openTar } from '../compressed/open-tar.js';
import { type KeptIndex, parseIndex } from '../tar/index-file.js';
import { type ArchiveCache, type ArchiveTask, parseTold, type TarIndexTask } from './archive-task.js';

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

/**
 * Opens archives as trees and keeps what was written by others out of this thread. A tar archive is gone through by a
 * worker, which gives the index; with it, files are read where they lie. A squashfs image is read by a worker of its own for as long as it is open.
 */
export class ArchiveHost {
  readonly #cache: ArchiveCache | undefined;
  readonly #tarWorker = worker('./tar-index-worker.js');
  readonly #squashfsWorker = worker('./squashfs-worker.js');

  /** Without a cache an index lasts as long as the tree, and what was decompressed too. */
  constructor(cache?: ArchiveCache) {
    this.#cache = cache;
  }

  /** Says that such an archive may soon be opened: to start a worker takes longer than to open most of them. */
  prepare({ kind }: ArchiveFormat): void {
    if (kind === 'squashfs') this.#squashfsWorker.prepare();
    else this.#tarWorker.prepare();
  }

  /**
   * Opens an archive as a tree, and takes the archive over. A worker that dies is EIO for this tree alone. Errors: what
   * opening an archive of its format tells.
   */
  async open(archive: Disk, options: HostedArchive, signal: AbortSignal): Promise<Tree> {
    const { format } = options;
    if (format.kind === 'squashfs') return this.#openSquashfs(archive, options, signal);
    const place = this.#cache && { ...this.#cache, identity: options.identity };
    const { tree, problems } = await openTar(archive, format.compression, place, (bytes, own) =>
      this.#tarIndex(bytes, format.compression, own, options, signal),
    );
    for (const sentence of problems) options.problem(sentence);
    return tree;
  }

  /** Trees that are open go on. */
  async close(): Promise<void> {
    await Promise.all([this.#tarWorker.close(), this.#squashfsWorker.close()]);
  }

  async #tarIndex(
    archive: Disk,
    compression: Compression,
    place: CachePlace | undefined,
    options: HostedArchive,
    signal: AbortSignal,
  ): Promise<KeptIndex> {
    const served = new ServedArchive(archive, options);
    const data: TarIndexTask = { ...served.task, compression, place };
    const { name } = options;
    const worker = new WorkerService({ name, worker: this.#tarWorker.take(), silence: mostSilence });
    try {
      return parseIndex(await worker.ask(data, served.ports, signal));
    } finally {
      await worker.end();
      served.close();
      this.#tarWorker.prepare();
    }
  }

  async #openSquashfs(archive: Disk, options: HostedArchive, signal: AbortSignal): Promise<Tree> {
    const served = new ServedArchive(archive, options);
    const tree = await hostTree({
      name: options.name,
      worker: this.#squashfsWorker.take(),
      data: served.task,
      transfer: served.ports,
      silence: mostSilence,
      signal,
      ended: async () => {
        served.close();
        await archive.close();
      },
    });
    this.#squashfsWorker.prepare();
    return tree;
  }
}

function worker(module: string): WaitingWorker {
  return new WaitingWorker(new URL(module, import.meta.url), memoryLimit);
}

/** An archive as a worker reads it, and what the worker tells of it. */
class ServedArchive {
  readonly task: ArchiveTask;
  readonly #disk = new MessageChannel();
  readonly #told = new MessageChannel();

  constructor(archive: Disk, { name, problem, progress }: HostedArchive) {
    serveDisk(archive, this.#disk.port1);
    this.#told.port1.on('message', (message: unknown) => {
      const news = parseTold(message);
      if (news.kind === 'problem') problem(news.sentence);
      else progress(news.bytes);
    });
    const facts = { size: archive.size, name, descriptor: archive.passthrough };
    this.task = { disk: this.#disk.port2, told: this.#told.port2, facts };
  }

  get ports(): readonly MessagePort[] {
    return [this.task.disk, this.task.told];
  }

  close(): void {
    this.#disk.port1.close();
    this.#told.port1.close();
  }
}

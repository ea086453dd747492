import { MessageChannel } from 'node:worker_threads';
import type { Disk } from '../../disks/disk.js';
import { serveDisk } from '../../disks/port/serve-disk.js';
import { hostTree } from '../../tree/port/host-tree.js';
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
  /** Without it an index lasts as long as the tree, and what was decompressed too. */
  readonly cache?: ArchiveCache;
  /** Called with each sentence about what of the archive can't be shown; some come as more of it is read. */
  readonly problem: (sentence: string) => void;
  /** Called now and then while the index is made, with how many bytes of the archive are done. */
  readonly progress: (bytes: number) => void;
}

/**
 * Opens an archive as a tree in a worker of its own, and takes the archive over: it is closed when the worker has ended.
 * A worker that dies is EIO for this tree alone. Errors: what opening an archive of its format tells.
 */
export async function hostArchive(archive: Disk, options: HostedArchive, signal: AbortSignal): Promise<Tree> {
  const { format, name, identity, cache } = options;
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
    cache,
  };
  return hostTree({
    name,
    entry: new URL('./archive-worker.js', import.meta.url),
    data,
    transfer: [disk.port2, told.port2],
    silence: mostSilence,
    memory: memoryLimit,
    signal,
    ended: async () => {
      disk.port1.close();
      told.port1.close();
      await archive.close();
    },
  });
}

import { PortDisk } from '../../disks/port/port-disk.js';
import { serveHosted } from '../../tree/port/serve-tree.js';
import type { Tree } from '../../tree/tree.js';
import { openCompressedTar } from '../compressed/open-compressed-tar.js';
import { openSquashfs } from '../squashfs/squashfs.js';
import { type ArchiveTask, parseArchiveTask, type Told } from './archive-task.js';

/** The time between two tellings of progress, milliseconds. */
const progressInterval = 500;

/** What the worker of one archive runs: opens it and serves its tree. */
await serveHosted(async (data, signal) => {
  const task = parseArchiveTask(data);
  const disk = new PortDisk(task.disk, task.size, task.name);
  try {
    return await opened(task, disk, signal);
  } catch (error) {
    await disk.close();
    throw error;
  }
});

async function opened(task: ArchiveTask, disk: PortDisk, signal: AbortSignal): Promise<Tree> {
  const { format, told, cache, identity } = task;
  const problem = (sentence: string): void => tell(told, { kind: 'problem', sentence });
  if (format.kind === 'squashfs') return openSquashfs(disk, { signal, problem });
  let last = performance.now();
  const { tree, problems } = await openCompressedTar(disk, format.compression, {
    signal,
    identity,
    ...(cache && { cacheFolder: cache.folder, mostCacheBytes: cache.mostBytes }),
    progress: (bytes) => {
      const now = performance.now();
      if (now < last + progressInterval) return;
      last = now;
      tell(told, { kind: 'progress', bytes });
    },
  });
  for (const sentence of problems) problem(sentence);
  return tree;
}

function tell(port: ArchiveTask['told'], told: Told): void {
  port.postMessage(told);
}

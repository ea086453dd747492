import { PortDisk } from '../../disks/port/port-disk.js';
import { serveHosted } from '../../tree/port/serve-tree.js';
import { openSquashfs } from '../squashfs/squashfs.js';
import { parseArchiveTask, type Told } from './archive-task.js';

/** What the worker of one squashfs image runs: opens it and serves its tree. */
await serveHosted(async (data, signal) => {
  const { disk: port, facts, told } = parseArchiveTask(data);
  const problem = (sentence: string): void => {
    const news: Told = { kind: 'problem', sentence };
    told.postMessage(news);
  };
  const disk = new PortDisk(port, facts);
  try {
    return await openSquashfs(disk, { signal, problem });
  } catch (error) {
    await disk.close();
    throw error;
  }
});

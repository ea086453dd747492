import { PortDisk } from '../../disks/port/port-disk.js';
import { answerRequests } from '../../port/answer-requests.js';
import { tarIndex } from '../compressed/tar-index.js';
import { parseTarIndexTask, type Told } from './archive-task.js';

/** The time between two tellings of progress, milliseconds. */
const progressInterval = 500;

/** What the worker runs that makes the index of one tar archive. */
answerRequests(async (data, signal) => {
  const { disk: port, facts, told, compression, place } = parseTarIndexTask(data);
  let last = performance.now();
  const progress = (bytes: number): void => {
    const now = performance.now();
    if (now < last + progressInterval) return;
    last = now;
    const news: Told = { kind: 'progress', bytes };
    told.postMessage(news);
  };
  const value = await tarIndex(new PortDisk(port, facts), compression, place, { signal, progress });
  const memory = new Set(Object.values(value.columns).map(({ buffer }) => buffer));
  return { value, transfer: [...memory] };
});

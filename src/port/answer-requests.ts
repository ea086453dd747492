import { parentPort } from 'node:worker_threads';
import { StillError } from '../errors.js';
import { failureOf } from './failure.js';
import { fields, unexpected, whole } from './fields.js';

/** What a request gave, and the memory in it that goes over to who asked. */
export interface Answer {
  readonly value: unknown;
  readonly transfer?: readonly ArrayBuffer[];
}

/**
 * What the module of a worker that is asked for things (`WorkerService`) calls, once. `signal` is aborted when nobody waits for the
 * answer any more.
 */
export function answerRequests(work: (data: unknown, signal: AbortSignal) => Promise<Answer>): void {
  const port = parentPort;
  if (!port) throw new StillError('EINVAL', 'answerRequests answers for a worker; this is no worker');
  const underWay = new Map<number, AbortController>();
  const answer = async (id: number, data: unknown): Promise<void> => {
    const abort = new AbortController();
    underWay.set(id, abort);
    try {
      const { value, transfer = [] } = await work(data, abort.signal);
      port.postMessage({ kind: 'done', id, value }, transfer);
    } catch (error) {
      port.postMessage({ kind: 'failed', id, failure: failureOf(error) });
    } finally {
      underWay.delete(id);
    }
  };
  port.on('message', (message: unknown) => {
    const from = fields(message);
    if (from.kind === 'request') void answer(whole(from.id, 'id'), from.data);
    else if (from.kind === 'abort') underWay.get(whole(from.id, 'id'))?.abort();
    else if (from.kind === 'ping') port.postMessage({ kind: 'pong' });
    else unexpected('kind');
  });
}

import { parentPort } from 'node:worker_threads';
import { StillError } from '../errors.js';
import { failureOf } from './failure.js';
import { fields, unexpected } from './fields.js';

/** What a task gave, and the memory in it that goes over to who asked. */
export interface Answer {
  readonly value: unknown;
  readonly transfer: readonly ArrayBuffer[];
}

/**
 * What the module of a worker that does one thing (`inWorker`) calls, once. `signal` is aborted when nobody waits for the
 * answer any more.
 */
export function answerTask(work: (data: unknown, signal: AbortSignal) => Promise<Answer>): void {
  const port = parentPort;
  if (!port) throw new StillError('EINVAL', 'answerTask answers for a worker; this is no worker');
  const abort = new AbortController();
  const answer = async (data: unknown): Promise<void> => {
    try {
      const { value, transfer } = await work(data, abort.signal);
      port.postMessage({ kind: 'done', value }, transfer);
    } catch (error) {
      port.postMessage({ kind: 'failed', failure: failureOf(error) });
    }
  };
  port.on('message', (message: unknown) => {
    const from = fields(message);
    if (from.kind === 'begin') void answer(from.data);
    else if (from.kind === 'give-up') abort.abort();
    else if (from.kind === 'ping') port.postMessage({ kind: 'pong' });
    else unexpected('kind');
  });
}

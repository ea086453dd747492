import { once } from 'node:events';
import type { MessagePort, Worker } from 'node:worker_threads';
import { messageOf, StillError } from '../errors.js';
import { errorOf, parseFailure } from './failure.js';
import { fields, unexpected } from './fields.js';
import { Pulse } from './pulse.js';

/** From who asks to the worker. */
export type TaskRequest =
  | { readonly kind: 'begin'; readonly data: unknown }
  | { readonly kind: 'give-up' }
  | { readonly kind: 'ping' };

/** How long a worker may take to end in good order what nobody waits for any more, milliseconds. */
const patience = 2000;

export interface WorkerTask {
  /** What is worked on, for messages. */
  readonly name: string;
  /** A worker whose module calls `answerTask`. It is ended when the task is done. */
  readonly worker: Worker;
  /** It is cloned, but for the ports in it, which `transfer` names. */
  readonly data: unknown;
  readonly transfer: readonly MessagePort[];
  /** Seconds that the worker may be silent. */
  readonly silence: number;
  readonly signal: AbortSignal;
}

/**
 * Has a worker do one thing, and gives what it answers. What the thing itself fails with is what this rejects with; EIO
 * where the worker crashes, needs more memory than it may have, or hangs.
 */
export async function inWorker(task: WorkerTask): Promise<unknown> {
  const { name, worker, data, transfer, silence, signal } = task;
  const exited = once(worker, 'exit');
  let pulse: Pulse | undefined;
  let late: NodeJS.Timeout | undefined;
  const send = (request: TaskRequest, ports: readonly MessagePort[] = []): void =>
    worker.postMessage(request, ports);
  const giveUp = (): void => {
    send({ kind: 'give-up' });
    late = setTimeout(() => void worker.terminate(), patience);
  };
  try {
    signal.throwIfAborted();
    signal.addEventListener('abort', giveUp, { once: true });
    return await new Promise<unknown>((resolve, reject) => {
      const fail = (happened: string, cause?: unknown): void =>
        reject(new StillError('EIO', `the worker that reads ${name} ${happened}`, { cause }));
      worker.on('message', (message: unknown) => {
        pulse?.heard();
        const from = fields(message);
        if (from.kind === 'done') resolve(from.value);
        else if (from.kind === 'failed') reject(errorOf(parseFailure(from.failure), signal.reason));
        else if (from.kind !== 'pong') unexpected('kind');
      });
      worker.on('messageerror', (error) => fail('sent what can not be read', error));
      worker.on('error', (error) => fail(`crashed: ${messageOf(error)}`, error));
      worker.on('exit', (code) => (signal.aborted ? reject(signal.reason) : fail(`ended with code ${code}`)));
      pulse = new Pulse({
        silence,
        ping: () => send({ kind: 'ping' }),
        awaited: () => true,
        silent: () => fail(`was silent for ${silence} seconds; it was ended`),
      });
      send({ kind: 'begin', data }, transfer);
    });
  } finally {
    signal.removeEventListener('abort', giveUp);
    clearTimeout(late);
    pulse?.stop();
    await worker.terminate();
    await exited;
  }
}

import { describe, expect, it } from 'vitest';
import { QueueDepth } from '../../src/queue-depth.js';

const never = (): Promise<never> => new Promise(() => undefined);

describe('a queue depth', () => {
  it('runs no more calls at once than it allows', async () => {
    const depth = new QueueDepth(2);
    let underWay = 0;
    let most = 0;
    const call = async (): Promise<void> => {
      underWay++;
      most = Math.max(most, underWay);
      await Promise.resolve();
      underWay--;
    };
    await Promise.all(Array.from({ length: 20 }, () => depth.run(call)));
    expect(most).toBe(2);
  });

  it('ends the wait for a call that never returns when it is aborted, and keeps its place taken', async () => {
    const depth = new QueueDepth(1);
    const first = new AbortController();
    const second = new AbortController();
    const stuck = depth.run(never, first.signal);
    const queued = depth.run(async () => 'ran', second.signal);
    first.abort();
    await expect(stuck).rejects.toMatchObject({ name: 'AbortError' });
    second.abort();
    await expect(queued).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('gives the late result of an abandoned call to whoever must dispose of it', async () => {
    const depth = new QueueDepth(1);
    const abort = new AbortController();
    let finish: (value: number) => void = () => undefined;
    const disposed = new Promise<number>((resolve) => {
      const run = depth.run(() => new Promise<number>((done) => (finish = done)), abort.signal, resolve);
      run.catch(() => finish(7));
    });
    abort.abort();
    expect(await disposed).toBe(7);
  });

  it('goes on with the next call when one fails', async () => {
    const depth = new QueueDepth(1);
    const failing = depth.run(() => Promise.reject(new Error('broken')));
    const next = depth.run(async () => 'fine');
    await expect(failing).rejects.toThrow('broken');
    expect(await next).toBe('fine');
  });
});

import { describe, expect, it } from 'vitest';
import { SharedWait } from '../../src/shared-wait.js';

/** Work that ends when told, and tells when it is aborted. */
function work(): { shared: SharedWait<string>; finish: (value: string) => void; aborted: () => boolean } {
  let finish: (value: string) => void = () => undefined;
  let signal: AbortSignal | undefined;
  const shared = new SharedWait<string>((given) => {
    signal = given;
    return new Promise((resolve) => {
      finish = resolve;
    });
  });
  return { shared, finish: (value) => finish(value), aborted: () => signal?.aborted === true };
}

describe('work that several wait for', () => {
  it('gives all of them its result', async () => {
    const { shared, finish } = work();
    const waits = [shared.wait(), shared.wait(new AbortController().signal)];
    finish('done');
    expect(await Promise.all(waits)).toEqual(['done', 'done']);
  });

  it('goes on for the others when one leaves', async () => {
    const { shared, finish, aborted } = work();
    const leaving = new AbortController();
    const first = shared.wait(leaving.signal);
    const second = shared.wait(new AbortController().signal);
    leaving.abort(new Error('gone'));
    await expect(first).rejects.toThrow('gone');
    expect(aborted()).toBe(false);
    finish('done');
    expect(await second).toBe('done');
  });

  it('is aborted when the last one leaves, and says that it was abandoned', async () => {
    const { shared, aborted } = work();
    const leaving = new AbortController();
    const only = shared.wait(leaving.signal);
    leaving.abort();
    await expect(only).rejects.toMatchObject({ name: 'AbortError' });
    expect(aborted()).toBe(true);
    expect(shared.abandoned).toBe(true);
  });

  it('is not abandoned by who leaves after it was done', async () => {
    const { shared, finish } = work();
    const wait = shared.wait();
    finish('done');
    await wait;
    expect(shared.abandoned).toBe(false);
    expect(await shared.wait()).toBe('done');
  });
});

import { describe, expect, it } from 'vitest';
import { queueDepths, threadPoolSize } from '../../../src/cli/thread-pool.js';

const stores = (
  ...depths: Array<number | undefined>
): Array<{ name: string; path: string; depth?: number }> =>
  depths.map((depth, place) => ({
    name: `s${place}`,
    path: `/s${place}`,
    ...(depth !== undefined && { depth }),
  }));

describe("Node's thread pool", () => {
  it.each([
    [undefined, 4],
    ['128', 128],
    ['0', 1],
    ['-3', 1],
    ['nonsense', 1],
    ['99999', 1024],
  ])('UV_THREADPOOL_SIZE=%s means %i threads', (variable, size) => {
    // Undefined would be this process' own variable: an empty environment is what is meant.
    if (variable === undefined) delete process.env.UV_THREADPOOL_SIZE;
    expect(threadPoolSize(variable)).toBe(size);
  });

  it('is shared out so that stores that are all stuck leave threads for the rest', () => {
    expect(queueDepths(stores(undefined), 128)).toEqual([8]);
    expect(queueDepths(stores(20, undefined), 128)).toEqual([20, 8]);
    for (const count of [1, 10, 15, 40, 120]) {
      const depths = queueDepths(stores(...Array.from({ length: count }, () => undefined)), 128);
      expect(depths.every((depth) => depth >= 1)).toBe(true);
      expect(depths.reduce((sum, depth) => sum + depth, 0)).toBeLessThanOrEqual(120);
    }
  });

  it('that is too small for the stores is refused, with the size that is needed', () => {
    expect(() => queueDepths(stores(...Array.from({ length: 121 }, () => undefined)), 128)).toThrow(
      '121 stores need 129 threads and the pool has 128: start with UV_THREADPOOL_SIZE=976',
    );
    expect(() => queueDepths(stores(121), 128)).toThrow('UV_THREADPOOL_SIZE=129');
  });
});

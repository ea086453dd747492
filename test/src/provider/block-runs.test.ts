import { describe, expect, it } from 'vitest';
import { type BlockRun, blockRuns, type Holes } from '../../../src/provider/disks/block-runs.js';
import type { DirtyRow } from '../../../src/provider/disks/dirty-rows.js';

const mebibyte = 2 ** 20;
const noHoles: Holes = {
  nextData: async (offset) => offset,
  nextHole: async () => Number.MAX_SAFE_INTEGER,
};

async function runsOf(
  rows: readonly DirtyRow[],
  sizeBytes: number,
  holes: Holes = noHoles,
): Promise<BlockRun[]> {
  const runs: BlockRun[] = [];
  async function* given(): AsyncGenerator<DirtyRow> {
    yield* rows;
  }
  for await (const run of blockRuns(given(), sizeBytes, holes)) runs.push(run);
  return runs;
}

/** A disk's holes, given by its data in bytes: [from, to, from, to …]. */
function holesBetween(data: readonly number[], sizeBytes: number): Holes & { asked: number } {
  const isData = (offset: number): boolean => data.filter((edge) => edge <= offset).length % 2 === 1;
  const next = (offset: number, wanted: boolean): number =>
    isData(offset) === wanted ? offset : (data.find((edge) => edge > offset) ?? sizeBytes);
  const holes = {
    asked: 0,
    nextData: async (offset: number) => {
      holes.asked++;
      return next(offset, true);
    },
    nextHole: async (offset: number) => {
      holes.asked++;
      return next(offset, false);
    },
  };
  return holes;
}

describe('the blocks of a disk', () => {
  it('come together where nothing has changed, and one by one where something has', async () => {
    const rows = [
      { offset: 0, length: 3 * mebibyte + 65_536, dirty: false },
      { offset: 3 * mebibyte + 65_536, length: 65_536, dirty: true },
      { offset: 3 * mebibyte + 131_072, length: 3 * mebibyte - 131_072, dirty: false },
      { offset: 6 * mebibyte, length: mebibyte + 512, dirty: true },
    ];
    expect(await runsOf(rows, 7 * mebibyte + 512)).toEqual([
      { first: 0, count: 3, dirty: [], zero: false },
      { first: 3, count: 1, dirty: [{ offset: 3 * mebibyte + 65_536, length: 65_536 }], zero: false },
      { first: 4, count: 2, dirty: [], zero: false },
      { first: 6, count: 1, dirty: [{ offset: 6 * mebibyte, length: mebibyte }], zero: false },
      { first: 7, count: 1, dirty: [{ offset: 7 * mebibyte, length: 512 }], zero: false },
    ]);
  });

  it('of which all is zeros come together, and holes are not asked for block by block', async () => {
    const sizeBytes = 1000 * mebibyte + 4096;
    const holes = holesBetween([2 * mebibyte + 5, 600 * mebibyte], sizeBytes);
    const runs = await runsOf([{ offset: 0, length: sizeBytes, dirty: true }], sizeBytes, holes);
    expect(runs.filter(({ zero }) => zero)).toEqual([
      { first: 0, count: 2, dirty: [{ offset: 0, length: 2 * mebibyte }], zero: true },
      {
        first: 600,
        count: 401,
        dirty: [{ offset: 600 * mebibyte, length: 400 * mebibyte + 4096 }],
        zero: true,
      },
    ]);
    expect(runs).toHaveLength(2 + 598);
    expect(holes.asked).toBeLessThan(10);
  });

  it('cover whatever disk wholly, and call no byte unchanged that the map calls changed', async () => {
    // xorshift: the same disks each time.
    let state = 42;
    const random = (below: number): number => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return Math.abs(state) % below;
    };
    for (let round = 0; round < 300; round++) {
      const sizeBytes = 512 * (1 + random(20_000));
      const rows: DirtyRow[] = [];
      let at = 0;
      for (let dirty = random(2) === 0; at < sizeBytes; dirty = !dirty) {
        const length = Math.min(sizeBytes - at, 512 * (1 + random(random(4) === 0 ? 9000 : 200)));
        rows.push({ offset: at, length, dirty });
        at += length;
      }
      const edges: number[] = [];
      for (let edge = random(mebibyte); edge < sizeBytes; edge += 1 + random(3 * mebibyte)) edges.push(edge);
      const runs = await runsOf(rows, sizeBytes, holesBetween(edges, sizeBytes));
      let next = 0;
      const changed: { offset: number; length: number }[] = [];
      for (const { first, count, dirty } of runs) {
        expect(first).toBe(next);
        next += count;
        for (const range of dirty) {
          const last = changed.at(-1);
          if (last && last.offset + last.length === range.offset) last.length += range.length;
          else changed.push({ ...range });
        }
      }
      expect(next).toBe(Math.ceil(sizeBytes / mebibyte));
      expect(changed).toEqual(
        rows.filter(({ dirty }) => dirty).map(({ offset, length }) => ({ offset, length })),
      );
    }
  });
});

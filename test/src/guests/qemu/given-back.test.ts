import { describe, expect, test } from 'vitest';
import { ByteRanges, GivenBack } from '../../../../src/guests/qemu/given-back.js';
import { numbers } from '../../../corpus/qcow2-images.js';

const granule = 65_536;

describe('what is given back of a disk', () => {
  test('goes to QEMU granule by granule, as soon as one is complete', () => {
    const given = new GivenBack(10 * granule, granule);
    expect(given.add({ from: 0, to: 4096 })).toEqual([]);
    expect(given.add({ from: 8192, to: granule + 10 })).toEqual([]);
    expect(given.add({ from: 4096, to: 8192 })).toEqual([{ from: 0, to: granule }]);
    expect(given.add({ from: 0, to: granule })).toEqual([]);
    expect(given.add({ from: granule, to: 3 * granule + 1 })).toEqual([{ from: granule, to: 3 * granule }]);
  });

  test('ends with the disk, whose last granule need not be whole', () => {
    const given = new GivenBack(granule + 512, granule);
    expect(given.add({ from: granule, to: granule + 512 })).toEqual([{ from: granule, to: granule + 512 }]);
  });

  test('is not asked about any more once QEMU has let go of it, and is as dirty as it was', () => {
    const given = new GivenBack(10 * granule, granule);
    given.letGo({ from: granule, to: 4 * granule }, [{ from: 2 * granule, to: 3 * granule }]);
    expect(given.timesLetGo).toBe(1);
    expect([...given.told({ from: 0, to: 5 * granule })]).toEqual([
      { from: 0, to: granule },
      { from: granule, to: 2 * granule, gone: { dirty: false } },
      { from: 2 * granule, to: 3 * granule, gone: { dirty: true } },
      { from: 3 * granule, to: 4 * granule, gone: { dirty: false } },
      { from: 4 * granule, to: 5 * granule },
    ]);
  });

  test('can be told from the rest at once, however little it is', () => {
    const given = new GivenBack(10 * granule, granule);
    given.add({ from: 1000, to: 1001 });
    expect(given.includesAnyOf({ from: 0, to: 1000 })).toBe(false);
    expect(given.includesAnyOf({ from: 1000, to: 1001 })).toBe(true);
    expect(given.includesAnyOf({ from: 1001, to: 2000 })).toBe(false);
    expect(given.includesAnyOf({ from: 0, to: 10 * granule })).toBe(true);
  });

  test('is, for 5000 random ranges, what a plain map of bytes says, and no granule is freed early or twice', () => {
    const unit = 8;
    const units = 997;
    const size = units * unit - 3;
    const random = numbers(7);
    const given = new GivenBack(size, unit);
    const gone = new Uint8Array(size);
    const freed = new Uint8Array(size);
    for (let round = 0; round < 5000; round++) {
      const from = random() % size;
      const to = Math.min(size, from + 1 + (random() % 40));
      gone.fill(1, from, to);
      for (const range of given.add({ from, to })) {
        expect(range.from % unit).toBe(0);
        expect(range.to % unit === 0 || range.to === size).toBe(true);
        expect(gone.subarray(range.from, range.to).every((byte) => byte === 1)).toBe(true);
        expect(freed.subarray(range.from, range.to).some((byte) => byte === 1)).toBe(false);
        freed.fill(1, range.from, range.to);
      }
      const at = random() % size;
      expect(given.includesAnyOf({ from: at, to: at + 1 })).toBe(gone[at] === 1);
    }
    for (let start = 0; start < size; start += unit) {
      const end = Math.min(start + unit, size);
      if (gone.subarray(start, end).every((byte) => byte === 1)) expect(freed[start]).toBe(1);
    }
  });
});

test('ranges are told apart from what lies between them', () => {
  const ranges = new ByteRanges();
  ranges.add({ from: 10, to: 20 });
  ranges.add({ from: 30, to: 40 });
  expect([...ranges.pieces({ from: 15, to: 50 })]).toEqual([
    { from: 15, to: 20, within: true },
    { from: 20, to: 30, within: false },
    { from: 30, to: 40, within: true },
    { from: 40, to: 50, within: false },
  ]);
  expect(ranges.add({ from: 20, to: 30 })).toEqual({ from: 10, to: 40 });
});

import { describe, expect, it } from 'vitest';
import { bytesText, secondsText } from '../../../src/cli/report/amounts.js';
import { PartRate } from '../../../src/cli/report/part-rates.js';
import { barText } from '../../../src/cli/report/status-lines.js';

const mebibyte = 2 ** 20;

describe('what a person is told of a job', () => {
  it('has amounts that can be read', () => {
    expect([0, 1023, 1536, 150 * mebibyte, 2 ** 41].map(bytesText)).toEqual([
      '0 B',
      '1023 B',
      '1.5 KiB',
      '150 MiB',
      '2.0 TiB',
    ]);
    expect([0.4, 59, 60, 3729].map(secondsText)).toEqual(['0 s', '59 s', '1:00', '1:02:09']);
  });

  it('has a bar with the rate of the last seconds, and the time that is left', () => {
    const part = new PartRate();
    for (let second = 0; second <= 60; second++) {
      const slow = Math.min(second, 30) * mebibyte;
      const fast = Math.max(0, second - 30) * 3 * mebibyte;
      part.note(slow + fast, 180 * mebibyte, second * 1000);
    }
    expect(barText(part.pace(60_000))).toBe(
      '[################--------]  66 %  120 MiB of 180 MiB  3.0 MiB/s  20 s left',
    );
    expect(barText({ done: mebibyte, total: undefined, bytesPerSecond: 0, secondsLeft: undefined })).toBe(
      '1.0 MiB  0 B/s',
    );
  });
});

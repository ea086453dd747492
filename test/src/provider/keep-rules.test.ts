import { describe, expect, it } from 'vitest';
import { type KeepRules, markBackups } from '../../../src/provider/prune/keep-rules.js';

/** Marks of backups at these times, in their order: `k` for keep, `p` for protected (its time ends with `!`), `-` for remove. */
function marksOf(times: readonly string[], rules: KeepRules): string {
  const backups = times.map((time) => ({
    folder: time,
    seconds: Date.parse(`${time.replace('!', '')}Z`) / 1000,
    isProtected: time.endsWith('!'),
  }));
  const marks = markBackups(backups, rules);
  const letters = { keep: 'k', protected: 'p', remove: '-' } as const;
  return times.map((time) => letters[marks.get(time) ?? 'remove']).join('');
}

const twoDaily = [
  '2024-11-10T06:00:00',
  '2024-11-10T18:00:00',
  '2024-11-11T06:00:00',
  '2024-11-11T18:00:00',
  '2024-11-12T06:00:00',
  '2024-11-12T18:00:00',
];

/** Expectations are what Proxmox VE's documentation says of `prune-backups`, worked out by hand. */
describe('the rules of a prune', () => {
  it.each<[string, readonly string[], KeepRules, string]>([
    ['nothing is said: all stay', twoDaily, {}, 'kkkkkk'],
    ['zeros say nothing either', twoDaily, { last: 0, daily: 0 }, 'kkkkkk'],
    ['all are wanted, whatever else', twoDaily, { all: true, last: 1 }, 'kkkkkk'],
    ['the last ones', twoDaily, { last: 2 }, '----kk'],
    ['more than there are', twoDaily, { last: 9 }, 'kkkkkk'],
    ['the last of each day', twoDaily, { daily: 2 }, '---k-k'],
    ['each rule keeps more than the one before', twoDaily, { last: 1, daily: 1 }, '---k-k'],
    ['a day that has one already does not count', twoDaily, { last: 3, daily: 1 }, '-k-kkk'],
    [
      'what a rule passes over in its period is lost for later ones',
      twoDaily,
      { daily: 2, yearly: 1 },
      '---k-k',
    ],
    ['hours', ['2024-11-10T06:10:00', '2024-11-10T06:50:00', '2024-11-10T07:00:00'], { hourly: 2 }, '-kk'],
    ['only hours with backups count', ['2020-01-01T00:00:00', '2024-11-10T07:00:00'], { hourly: 2 }, 'kk'],
    [
      'weeks begin on Monday, and belong to the year of their Thursday',
      // Sunday; Monday and Wednesday of week 1 of 2025; the Sunday of that week; the Monday after.
      [
        '2024-12-29T23:59:59',
        '2024-12-30T00:00:00',
        '2025-01-01T12:00:00',
        '2025-01-05T12:00:00',
        '2025-01-06T00:00:00',
      ],
      { weekly: 3 },
      'k--kk',
    ],
    ['months', ['2024-10-31T23:59:59', '2024-11-01T00:00:00', '2024-11-30T00:00:00'], { monthly: 2 }, 'k-k'],
    ['years', ['2022-05-05T00:00:00', '2023-12-31T23:59:59', '2024-01-01T00:00:00'], { yearly: 2 }, '-kk'],
    [
      'years before those that a rule before keeps',
      ['2022-05-05T00:00:00', '2023-05-05T00:00:00', '2024-05-04T00:00:00', '2024-05-05T00:00:00'],
      { last: 1, yearly: 1 },
      '-k-k',
    ],
    [
      'a protected one stays and takes no place',
      ['2024-11-10T00:00:00', '2024-11-11T00:00:00', '2024-11-12T00:00:00!'],
      { last: 1 },
      '-kp',
    ],
    [
      'a protected one does not stand for its day',
      ['2024-11-11T00:00:00', '2024-11-12T06:00:00', '2024-11-12T18:00:00!'],
      { daily: 2 },
      'kkp',
    ],
  ])('%s', (_what, times, rules, marks) => {
    expect(marksOf(times, rules)).toBe(marks);
  });
});

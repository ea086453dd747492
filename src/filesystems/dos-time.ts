import type { Time } from '../time.js';

/**
 * A date and a time as FAT and exFAT store them ("FAT: General Overview of On-Disk Format", 6.1; exFAT specification,
 * 7.4.8): seven bits of years since 1980, four of the month, five of the day; five of the hour, six of the minute, five of two seconds.
 * `hundredths`: what is to be added, of seconds. Both are taken as UTC. What is no date counts on, as it does in Linux.
 */
export function dosTime(date: number, time: number, hundredths = 0): Time {
  const year = 1980 + (date >>> 9);
  const month = Math.max(1, (date >>> 5) & 0xf);
  const day = Math.max(1, date & 0x1f);
  const midnight = Date.UTC(year, (month > 12 ? 1 : month) - 1, day) / 1000;
  const seconds = (time >>> 11) * 3600 + ((time >>> 5) & 0x3f) * 60 + (time & 0x1f) * 2;
  return {
    seconds: midnight + seconds + Math.floor(hundredths / 100),
    nanoseconds: (hundredths % 100) * 10_000_000,
  };
}

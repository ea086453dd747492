import type { Time } from '../../time.js';

const ticksInSecond = 10_000_000;
/** From 1601 to 1970. */
const secondsBefore1970 = 11_644_473_600;
const half = 2 ** 32;
const wholeSeconds = Math.floor(half / ticksInSecond);
const ticksLeft = half % ticksInSecond;

/** A time in steps of 100 ns since 1601; exact for some 27 000 years from then. */
export function windowsTime(bytes: Buffer, at: number): Time {
  // 2^32 steps are so many seconds and some steps: numbers of 64 bits are not needed.
  const high = bytes.readInt32LE(at + 4);
  const ticks = high * ticksLeft + bytes.readUInt32LE(at);
  const rest = ((ticks % ticksInSecond) + ticksInSecond) % ticksInSecond;
  return {
    seconds: high * wholeSeconds + (ticks - rest) / ticksInSecond - secondsBefore1970,
    nanoseconds: rest * 100,
  };
}

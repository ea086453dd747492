/** A moment: whole seconds since 1970 in UTC (negative before), and the nanoseconds after that second (0 to 999 999 999). */
export interface Time {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export const epoch: Time = { seconds: 0, nanoseconds: 0 };

export function timeFromNanoseconds(nanoseconds: bigint): Time {
  const whole = 1_000_000_000n;
  const rest = ((nanoseconds % whole) + whole) % whole;
  return { seconds: Number((nanoseconds - rest) / whole), nanoseconds: Number(rest) };
}

export function timeFromDate(date: Date): Time {
  const milliseconds = date.getTime();
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanoseconds: (milliseconds - seconds * 1000) * 1_000_000 };
}

import { setImmediate as nextTurn } from 'node:timers/promises';

/** So long may computations keep everyone else waiting, in milliseconds. */
const mostMilliseconds = 4;
let spent = 0;

/** Runs a computation and takes note of how long it took. */
export function timed<T>(compute: () => T): T {
  const begun = performance.now();
  try {
    return compute();
  } finally {
    spent += performance.now() - begun;
  }
}

/** Takes note of a computation that was too short to be timed, in milliseconds. */
export function spend(milliseconds: number): void {
  spent += milliseconds;
}

/** Lets others have their turn, once computations together have taken long enough. */
export async function rest(): Promise<void> {
  if (spent < mostMilliseconds) return;
  spent = 0;
  await nextTurn();
}

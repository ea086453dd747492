/** One way to do the thing that a row measures. */
export interface Contender {
  readonly name: string;
  /** Does it once and says the figure (MB/s, seconds…). */
  run(): Promise<number>;
}

export interface Measured {
  readonly name: string;
  readonly median: number;
  readonly all: readonly number[];
}

/**
 * Runs each contender in turn, `rounds` times over, so that what the machine does meanwhile meets all alike. `before` makes ready what
 * all of a round do.
 */
export async function alternate(
  contenders: readonly Contender[],
  rounds: number,
  before: () => Promise<void> = async () => undefined,
): Promise<Measured[]> {
  const figures = contenders.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    await before();
    for (const [place, contender] of contenders.entries()) figures[place]?.push(await contender.run());
  }
  return contenders.map(({ name }, place) => {
    const all = figures[place] ?? [];
    return { name, median: median(all), all };
  });
}

export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begin = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - begin) / 1e9;
}

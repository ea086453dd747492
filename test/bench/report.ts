import { cpus, release, totalmem } from 'node:os';
import type { Measured } from './measure.js';

/** A table of the report: one thing measured, side by side. */
export interface Row {
  readonly title: string;
  readonly unit: string;
  readonly higherIsBetter: boolean;
  readonly measured: readonly Measured[];
}

export interface Report {
  readonly machine: string;
  readonly node: string;
  readonly rounds: number;
  readonly rows: Row[];
}

export function machine(): string {
  const all = cpus();
  return `${all.length} × ${all[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`;
}

/** A row as lines of text: each contender's median, and its ratio to the first one, which is stillfs. */
export function rowAsText(row: Row): string {
  const own = row.measured[0];
  const lines = row.measured.map(({ name, median }) => {
    const ratio =
      own && own.name !== name ? (row.higherIsBetter ? own.median / median : median / own.median) : undefined;
    const compared = ratio === undefined ? '' : `   stillfs: ${ratio.toFixed(2)} ×`;
    return `  ${name.padEnd(40)} ${median.toFixed(median < 10 ? 3 : 0).padStart(8)} ${row.unit}${compared}`;
  });
  return [row.title, ...lines].join('\n');
}

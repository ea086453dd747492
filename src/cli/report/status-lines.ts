import { printable } from '../printable.js';
import { bytesText, secondsText } from './amounts.js';
import type { Pace } from './part-rates.js';

const barWidth = 24;

/** Lines at the end of a terminal that are drawn anew again and again, below what is said once and for all. */
export class StatusLines {
  #drawn = 0;

  constructor(private readonly stream: NodeJS.WriteStream) {}

  /** Draws lines in place of those before. */
  draw(lines: readonly string[]): void {
    const width = (this.stream.columns || 80) - 1;
    const shown = lines.map((line) => `${printable(line).slice(0, width)}\u001b[K\n`);
    this.stream.write(`${this.#back()}${shown.join('')}\u001b[J`);
    this.#drawn = lines.length;
  }

  /** Says a line that stays, above those that are drawn. */
  say(line: string): void {
    this.stream.write(`${this.#back()}\u001b[J${printable(line)}\n`);
    this.#drawn = 0;
  }

  #back(): string {
    return this.#drawn > 0 ? `\u001b[${this.#drawn}A\r` : '';
  }
}

/** `[#####---] 42 %  1.2 GiB of 2.9 GiB  310 MiB/s  0:06 left`. */
export function barText({ done, total, bytesPerSecond, secondsLeft }: Pace): string {
  const rate = `${bytesText(bytesPerSecond)}/s`;
  if (total === undefined) return `${bytesText(done)}  ${rate}`;
  const share = total === 0 ? 1 : Math.min(1, done / total);
  const full = Math.floor(share * barWidth);
  const bar = `${'#'.repeat(full)}${'-'.repeat(barWidth - full)}`;
  const left = secondsLeft === undefined ? '' : `  ${secondsText(secondsLeft)} left`;
  const percent = String(Math.floor(share * 100)).padStart(3);
  return `[${bar}] ${percent} %  ${bytesText(done)} of ${bytesText(total)}  ${rate}${left}`;
}

import type { PartProgress } from '../../provider/job/part-progress.js';
import { PartRate } from './part-rates.js';
import { barText, StatusLines } from './status-lines.js';

const drawMilliseconds = 200;

/** A bar on a terminal for each part of a job, and above them a line for each thing that is done. The owner closes it. */
export class PartBars {
  readonly #lines: StatusLines;
  readonly #rates = new Map<string, PartRate>();
  readonly #timer: NodeJS.Timeout;

  constructor(stream: NodeJS.WriteStream) {
    this.#lines = new StatusLines(stream);
    this.#timer = setInterval(() => this.#draw(), drawMilliseconds);
  }

  progress({ part, done, total }: PartProgress): void {
    const rate = this.#rates.get(part) ?? new PartRate();
    this.#rates.set(part, rate);
    rate.note(done, total, performance.now());
  }

  /** Takes away the bars of parts that are over. */
  over(isOver: (part: string) => boolean): void {
    for (const part of this.#rates.keys()) if (isOver(part)) this.#rates.delete(part);
  }

  say(line: string): void {
    this.#lines.say(line);
    this.#draw();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#lines.draw([]);
  }

  #draw(): void {
    const now = performance.now();
    const width = Math.max(0, ...[...this.#rates.keys()].map((name) => name.length));
    this.#lines.draw(
      [...this.#rates].map(([name, rate]) => `${name.padEnd(width)} ${barText(rate.pace(now))}`),
    );
  }
}

import type { Logger } from '../../log.js';
import type { PartProgress } from '../../provider/job/part-progress.js';
import { PartRate } from './part-rates.js';
import { barText } from './status-lines.js';

const logMilliseconds = 30_000;

/** Lines in a log: now and then how far each part of a job has come. */
export class PartLines {
  readonly #rates = new Map<string, PartRate>();
  readonly #told = new Map<string, number>();

  constructor(private readonly log: Logger) {}

  progress({ part, done, total }: PartProgress, facts: object = {}): void {
    const now = performance.now();
    const rate = this.#rates.get(part) ?? new PartRate();
    this.#rates.set(part, rate);
    rate.note(done, total, now);
    const told = this.#told.get(part);
    if (told === undefined) this.#told.set(part, now);
    if (told === undefined || now - told < logMilliseconds) return;
    this.#told.set(part, now);
    const text = barText(rate.pace(now)).replace(/^\[[#-]*\] */, '');
    this.log.info({ part, done, total, ...facts }, `${part} ${text}`);
  }
}

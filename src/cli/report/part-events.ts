import type { Narration } from '../../provider/job/narration.js';
import type { PartProgress } from '../../provider/job/part-progress.js';

const jsonMilliseconds = 1000;

/** What `--json` prints of a job: one event a line. Keys may be added to events, never changed. */
export class PartEvents {
  readonly #told = new Map<string, number>();
  readonly log: Narration;

  constructor(private readonly stream: NodeJS.WriteStream) {
    const say =
      (level: 'info' | 'warn') =>
      (facts: object, text: string): void =>
        this.say('log', { level, text, ...facts });
    this.log = { info: say('info'), warn: say('warn') };
  }

  say(event: string, facts: object): void {
    this.stream.write(`${JSON.stringify({ event, time: new Date().toISOString(), ...facts })}\n`);
  }

  /** Tells how far a part of something has come: now and then, and its end always. */
  progress(progress: PartProgress, facts: { readonly guest?: string } = {}): void {
    const name = `${facts.guest ?? ''} ${progress.part}`;
    const now = performance.now();
    const isEnd = progress.done === progress.total;
    if (!isEnd && now - (this.#told.get(name) ?? Number.NEGATIVE_INFINITY) < jsonMilliseconds) return;
    this.#told.set(name, now);
    this.say('progress', { ...facts, ...progress });
  }
}

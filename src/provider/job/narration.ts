/** Who is told what is done, sentence by sentence; the program's log is one. */
export interface Narration {
  info(facts: object, sentence: string): void;
  warn(facts: object, sentence: string): void;
}

/** Keeps what is told, for `backup.log`, and passes it on. */
export class KeptNarration implements Narration {
  readonly #lines: string[] = [];

  constructor(private readonly next: Narration) {}

  info(facts: object, sentence: string): void {
    this.#keep(sentence);
    this.next.info(facts, sentence);
  }

  warn(facts: object, sentence: string): void {
    this.#keep(`warning: ${sentence}`);
    this.next.warn(facts, sentence);
  }

  /** A line for each sentence, with its time. */
  get text(): string {
    return this.#lines.map((line) => `${line}\n`).join('');
  }

  #keep(sentence: string): void {
    this.#lines.push(`${new Date().toISOString()} ${sentence.replaceAll('\n', ' ')}`);
  }
}

/** How many sentences damage may cause; the rest are counted. */
const most = 100;

/** What is wrong with an archive or a file system, one sentence for each thing, for a person. */
export class Problems {
  readonly #sentences = new Set<string>();
  readonly #listener: ((sentence: string) => void) | undefined;
  #more = 0;

  /** `listener` is called with each sentence as it is found. */
  constructor(listener?: (sentence: string) => void) {
    this.#listener = listener;
  }

  add(sentence: string): void {
    if (this.#sentences.has(sentence)) return;
    if (this.#sentences.size === most) {
      this.#more++;
      return;
    }
    this.#sentences.add(sentence);
    this.#listener?.(sentence);
  }

  get sentences(): readonly string[] {
    const sentences = [...this.#sentences];
    return this.#more === 0 ? sentences : [...sentences, `${this.#more} more such things were found.`];
  }
}

/** A member's path as a sentence can hold it. */
export function shownPath(path: Buffer): string {
  const text = JSON.stringify(path.toString('utf8', 0, Math.min(path.length, 200)));
  return path.length > 200 ? `${text}…` : text;
}

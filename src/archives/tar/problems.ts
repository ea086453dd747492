/** How many sentences a damaged archive may cause; the rest are counted. */
const most = 100;

/** What is wrong with an archive, one sentence for each thing, for a person. */
export class Problems {
  readonly #sentences: string[] = [];
  #more = 0;

  add(sentence: string): void {
    if (this.#sentences.length < most) this.#sentences.push(sentence);
    else this.#more++;
  }

  get sentences(): readonly string[] {
    if (this.#more === 0) return this.#sentences;
    return [...this.#sentences, `${this.#more} more such things were found.`];
  }
}

/** A member's path as a sentence can hold it. */
export function shownPath(path: Buffer): string {
  const text = JSON.stringify(path.toString('utf8', 0, Math.min(path.length, 200)));
  return path.length > 200 ? `${text}…` : text;
}

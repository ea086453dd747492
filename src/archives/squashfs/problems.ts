/** So many sentences are enough for a person; a hostile image could have one for each file. */
const mostSentences = 50;

/** What is wrong with an image, as sentences: each once, as it is found. */
export class Problems {
  readonly sentences: string[] = [];
  #full = false;

  add(sentence: string): void {
    if (this.#full || this.sentences.includes(sentence)) return;
    this.#full = this.sentences.length === mostSentences;
    this.sentences.push(this.#full ? 'There is more that is wrong; it is not listed.' : sentence);
  }
}

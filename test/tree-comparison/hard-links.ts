/** Which names are the same file, in both trees: a file of one must be one file in the other. */
export class HardLinks {
  readonly #actualOf = new Map<string, string>();
  readonly #expectedOf = new Map<string, string>();

  /** Whether a pair of files fits to all pairs before. */
  agree(expected: string, actual: string): boolean {
    const partner = this.#actualOf.get(expected);
    const other = this.#expectedOf.get(actual);
    if (partner === undefined && other === undefined) {
      this.#actualOf.set(expected, actual);
      this.#expectedOf.set(actual, expected);
      return true;
    }
    return partner === actual && other === expected;
  }
}

/** Memory that goes to and fro through a port with what is read: used again, for new memory would be cleared each time. */
export class SpareMemory {
  readonly #most: number;
  readonly #memory: ArrayBuffer[] = [];
  #bytes = 0;

  /** `most`: how many bytes are kept. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Memory of at least so many bytes, if there is any. */
  take(length: number): ArrayBuffer | undefined {
    const at = this.#memory.findLastIndex(({ byteLength }) => byteLength >= length);
    if (at === -1) return undefined;
    const [memory] = this.#memory.splice(at, 1);
    this.#bytes -= memory?.byteLength ?? 0;
    return memory;
  }

  keep(memory: ArrayBuffer): void {
    if (this.#bytes + memory.byteLength > this.#most) return;
    this.#memory.push(memory);
    this.#bytes += memory.byteLength;
  }

  clear(): void {
    this.#memory.length = 0;
    this.#bytes = 0;
  }
}

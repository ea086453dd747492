import { LRUCache } from 'lru-cache';

/** What can be kept: it says how many bytes it takes up. */
export interface Sized {
  readonly byteLength: number;
}

interface Kept<V extends Sized> {
  readonly value: V;
  readonly key: number | string;
  readonly section: CacheSection<V>;
}

/** What one image keeps in a cache that it shares with all others. Nobody sees another's section. */
export class CacheSection<V extends Sized> {
  readonly #entries = new Map<number | string, Kept<V>>();
  readonly #recent: LRUCache<Kept<V>, true>;

  constructor(recent: LRUCache<Kept<V>, true>) {
    this.#recent = recent;
  }

  get(key: number | string): V | undefined {
    const kept = this.#entries.get(key);
    if (!kept) return undefined;
    this.#recent.get(kept);
    return kept.value;
  }

  set(key: number | string, value: V): void {
    const before = this.#entries.get(key);
    if (before) this.#recent.delete(before);
    const kept = { value, key, section: this };
    this.#entries.set(key, kept);
    this.#recent.set(kept, true);
  }

  /** Forgets an entry that the shared bound has thrown out. */
  drop(kept: Kept<V>): void {
    if (this.#entries.get(kept.key) === kept) this.#entries.delete(kept.key);
  }

  clear(): void {
    for (const kept of [...this.#entries.values()]) this.#recent.delete(kept);
  }
}

/** A cache with one bound in bytes for all images that are open: what was not used for the longest time goes first. */
export class SharedCache<V extends Sized> {
  readonly #recent: LRUCache<Kept<V>, true>;

  constructor(mostBytes: number) {
    this.#recent = new LRUCache<Kept<V>, true>({
      maxSize: mostBytes,
      sizeCalculation: (_, kept) => kept.value.byteLength + overheadBytes,
      dispose: (_, kept) => kept.section.drop(kept),
    });
  }

  section(): CacheSection<V> {
    return new CacheSection(this.#recent);
  }
}

/** About what an entry costs beside its bytes. */
const overheadBytes = 256;

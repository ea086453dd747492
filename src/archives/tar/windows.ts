import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ArchiveBytes } from './archive-bytes.js';
import { blockBytes } from './header.js';

/** A part of an archive in memory, whole blocks but at the archive's end. */
export interface Window {
  readonly bytes: Buffer;
  /** The same bytes. */
  readonly words: Uint32Array;
  /** Where it begins in the archive, and where its last whole block ends. */
  readonly from: number;
  readonly to: number;
}

/** Where a pass over an archive gets its bytes from: always onwards. */
export interface Windows {
  /** A window that the block at `offset` is in; undefined where the archive has no such block. The one before is void. */
  at(offset: number): Promise<Window | undefined>;
}

/** As much as stays in a processor's cache while it is looked at. */
export const largestWindow = 256 << 10;
const smallestWindow = 8 << 10;
/** Skipping less than this costs more than reading on. */
const readOn = 128 << 10;
/** How long a pass may keep the thread to itself, in milliseconds. */
const turn = 8;

/** Makes room for a window; its bytes lie so that they can be taken for words. */
export function windowBytes(length: number): Buffer {
  return Buffer.allocUnsafeSlow(length);
}

export function windowOf(bytes: Buffer, from: number): Window {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
  return { bytes, words, from, to: from + bytes.length - (bytes.length % blockBytes) };
}

/** Lets others have the thread, in a pass that is given everything without any wait. */
export class Turns {
  #begun = performance.now();

  async give(): Promise<void> {
    if (performance.now() - this.#begun < turn) return;
    await nextTurn();
    this.#begun = performance.now();
  }
}

/**
 * Windows of an archive with random access: large ones with the next read ahead while headers follow closely, small
 * ones where the members between them are large.
 */
export class RandomWindows implements Windows {
  readonly #archive: ArchiveBytes;
  readonly #signal: AbortSignal;
  readonly #turns = new Turns();
  #current: Window | undefined;
  #next: { readonly from: number; readonly window: Promise<Window> } | undefined;
  #length = smallestWindow * 8;
  /** Two buffers in turn, as one is looked at while the other is filled. */
  #spare: Buffer[] = [];

  constructor(archive: ArchiveBytes, signal: AbortSignal) {
    this.#archive = archive;
    this.#signal = signal;
  }

  async at(offset: number): Promise<Window | undefined> {
    this.#signal.throwIfAborted();
    if (offset + blockBytes > this.#archive.size) return undefined;
    await this.#turns.give();
    const last = this.#current;
    const ahead = this.#next;
    this.#next = undefined;
    if (ahead && offset < ahead.from + largestWindow) {
      const window = await ahead.window;
      if (last) this.#spare.push(last.bytes);
      return this.#use(window, largestWindow);
    }
    // What is under way into its buffer is of no use any more; the buffer is not used again.
    ahead?.window.catch(() => undefined);
    const gap = last ? offset - last.to : 0;
    this.#length = gap <= readOn ? Math.min(largestWindow, this.#length * 4) : smallestWindow;
    if (last && last.bytes.length === largestWindow) this.#spare.push(last.bytes);
    return this.#use(await this.#read(offset, this.#length), this.#length);
  }

  #use(window: Window, length: number): Window {
    this.#current = window;
    const from = window.to;
    if (length === largestWindow && from + blockBytes <= this.#archive.size) {
      const next = this.#read(from, largestWindow);
      next.catch(() => undefined);
      this.#next = { from, window: next };
    }
    return window;
  }

  async #read(from: number, most: number): Promise<Window> {
    const length = Math.min(most, this.#archive.size - from);
    const spare = length === largestWindow ? this.#spare.pop() : undefined;
    const bytes = spare ?? windowBytes(length);
    await this.#archive.read(from, bytes, this.#signal);
    return windowOf(bytes, from);
  }
}

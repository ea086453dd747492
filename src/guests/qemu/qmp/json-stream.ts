import { StillError } from '../../../errors.js';

const newline = 0x0a;
const carriageReturn = 0x0d;
const tab = 0x09;
const space = 0x20;
const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
/** No byte of UTF-8: QEMU's side and ours use it to say that what was before is to be forgotten. */
const reset = 0xff;

/** QEMU's own parser goes no deeper. */
const deepest = 1024;

export interface JsonStreamOptions {
  /** The most bytes that one message may have. */
  readonly mostBytes: number;
  /**
   * What makes no sense is skipped up to the next newline or 0xFF byte: for a stream that is entered in the middle. A message
   * that begins there is understood whatever came before. Otherwise the first such byte is an error.
   */
  readonly skipsNonsense?: boolean;
}

/**
 * Takes JSON objects from a stream of bytes, as QMP and the guest agent send them: one after another, with white space
 * between, on one line or (a monitor with `pretty=on`) on many.
 */
export class JsonStream {
  readonly #mostBytes: number;
  readonly #skipsNonsense: boolean;
  /** Earlier chunks of the message under way. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  /** Open braces and brackets; 0 between messages. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  #skipping = false;

  constructor({ mostBytes, skipsNonsense = false }: JsonStreamOptions) {
    this.#mostBytes = mostBytes;
    this.#skipsNonsense = skipsNonsense;
  }

  /** The objects that are whole with this chunk. EPROTO where they are none, or too long. The chunk is kept, not copied. */
  *take(chunk: Uint8Array): Generator<object> {
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (this.#skipsNonsense && byte === reset) {
        this.#forget();
      } else if (this.#skipping) {
        if (byte === newline) this.#skipping = false;
      } else if (this.#depth === 0) {
        if (byte === openBrace) {
          this.#depth = 1;
          start = at;
        } else if (byte !== newline && byte !== carriageReturn && byte !== space && byte !== tab) {
          this.#nonsense(`it sends what is no JSON object: ${excerpt(chunk.subarray(at))}`, byte);
        }
      } else if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === backslash) this.#escaped = true;
        else if (byte === quote) this.#inString = false;
        if (byte < space) this.#nonsense('a string in its JSON has control characters', byte);
      } else if (byte === quote) {
        this.#inString = true;
      } else if (byte === openBrace || byte === openBracket) {
        this.#depth++;
        if (this.#depth > deepest) this.#nonsense(`its JSON is nested deeper than ${deepest}`, byte);
      } else if (byte === closeBrace || byte === closeBracket) {
        this.#depth--;
        if (this.#depth === 0) {
          this.#hold(chunk.subarray(start, at + 1));
          const message = this.#parse();
          if (message) yield message;
        }
      }
    }
    if (this.#depth > 0) this.#hold(chunk.subarray(start));
  }

  #hold(bytes: Uint8Array): void {
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > this.#mostBytes)
      throw new StillError('EPROTO', `it sends a message of more than ${this.#mostBytes} bytes`);
    this.#held.push(bytes);
  }

  #parse(): object | undefined {
    const bytes = this.#held.length === 1 ? this.#held[0] : Buffer.concat(this.#held);
    this.#forget();
    try {
      // One that was balanced and begins with a brace is an object or no JSON at all.
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (error) {
      if (this.#skipsNonsense) return undefined;
      const what = `it sends what is no JSON: ${excerpt(bytes ?? new Uint8Array())}`;
      throw new StillError('EPROTO', what, { cause: error });
    }
  }

  #nonsense(what: string, byte: number): void {
    if (!this.#skipsNonsense) throw new StillError('EPROTO', what);
    this.#forget();
    this.#skipping = byte !== newline;
  }

  #forget(): void {
    this.#held = [];
    this.#heldBytes = 0;
    this.#depth = 0;
    this.#inString = false;
    this.#escaped = false;
    this.#skipping = false;
  }
}

function excerpt(bytes: Uint8Array): string {
  return JSON.stringify(Buffer.from(bytes.subarray(0, 40)).toString('latin1'));
}

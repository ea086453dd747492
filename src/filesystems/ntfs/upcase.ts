import { StillError } from '../../errors.js';

const units = 65536;

/** What each UTF-16 unit is compared as where case does not count: the volume's own table. */
export type Upcase = Uint16Array;

/** Reads the value of $UpCase. EIO: it is damaged. */
export function parseUpcase(bytes: Buffer): Upcase {
  if (bytes.length !== 2 * units)
    throw new StillError('EIO', `the table of upper case of the NTFS volume has ${bytes.length} bytes`);
  const upcase = new Uint16Array(units);
  for (let unit = 0; unit < units; unit++) upcase[unit] = bytes.readUInt16LE(2 * unit);
  return upcase;
}
export const upcaseBytes = 2 * units;

/** What is compared where the volume's own table can't be read: near enough for the names of most languages. */
export function usualUpcase(): Upcase {
  return Uint16Array.from({ length: units }, (_, unit) => {
    const upper = String.fromCharCode(unit).toUpperCase();
    return upper.length === 1 ? upper.charCodeAt(0) : unit;
  });
}

/** A name that is looked for in an index. */
export class SoughtName {
  readonly #units: Uint16Array;
  readonly #upper: Uint16Array;
  readonly #upcase: Upcase;
  readonly #exactly: boolean;

  /** `exactly`: names that differ in case are others. */
  constructor(name: string, upcase: Upcase, exactly = true) {
    this.#units = Uint16Array.from({ length: name.length }, (_, at) => name.charCodeAt(at));
    this.#upper = this.#units.map((unit) => upcase[unit] ?? unit);
    this.#upcase = upcase;
    this.#exactly = exactly;
  }

  /**
   * Below 0 where it comes before a name of so many UTF-16 units at `at`, above 0 where it comes after: COLLATION_FILE_NAME, which is
   * without case first, and by case among those that are then alike.
   */
  compare(bytes: Buffer, at: number, length: number): number {
    const upper = this.#upper;
    const shared = Math.min(upper.length, length);
    for (let index = 0, from = at; index < shared; index++, from += 2) {
      const unit = (bytes[from] ?? 0) | ((bytes[from + 1] ?? 0) << 8);
      const difference = (upper[index] ?? 0) - (this.#upcase[unit] ?? 0);
      if (difference !== 0) return difference;
    }
    if (upper.length !== length) return upper.length - length;
    for (let index = 0, from = at; this.#exactly && index < shared; index++, from += 2) {
      const difference = (this.#units[index] ?? 0) - ((bytes[from] ?? 0) | ((bytes[from + 1] ?? 0) << 8));
      if (difference !== 0) return difference;
    }
    return 0;
  }
}

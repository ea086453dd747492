/** So many entries are looked at ahead for each one that had to be looked up by itself. */
const worth = 32;
const most = 2048;

/**
 * Whether a listing should look at files that are not in memory. It costs a listing nothing where they are; where the
 * disk must be asked, it pays only if whoever lists goes on to look at each file (`ls -l`, tar, rsync), and does harm if
 * not. So each look-up in a folder that was just listed buys some entries of the next listings.
 */
export class StatAhead {
  #bought = 0;

  /** A file of a folder that was listed before had to be looked up at the disk. */
  missed(): void {
    this.#bought = Math.min(this.#bought + worth, most);
  }

  /** How many of so many entries are to be looked at. */
  take(entries: number): number {
    const taken = Math.min(entries, this.#bought);
    this.#bought -= taken;
    return taken;
  }
}

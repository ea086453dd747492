import type { CommandResult } from './guest-shell.js';
import type { Machine } from './machine.js';

/** How long a count is, in bytes: one sector. */
export const countLength = 512;

let writers = 0;

/**
 * A process in the guest that writes 1 to the first place, 1 to the second, 2 to the first and so on, each past the
 * page cache and flushed before the next. At any instant the first place is equal to the second or one ahead: disks
 * that show anything else show different instants.
 */
export class CountingWriter {
  readonly #machine: Machine;
  readonly #folder: string;
  readonly #result: Promise<CommandResult>;

  private constructor(machine: Machine, places: readonly string[]) {
    this.#machine = machine;
    this.#folder = `/run/counting-${++writers}`;
    this.#result = machine.run(`
      mkdir ${this.#folder}
      trap 'touch ${this.#folder}/ended' EXIT
      count=0
      until [ -e ${this.#folder}/stop ]; do
        count=$((count + 1))
        for place in ${places.join(' ')}; do
          printf '%-${countLength}s' $count |
            dd of=$place bs=${countLength} oflag=direct conv=notrunc,fsync status=none || exit
        done
        echo $count >${this.#folder}/count
      done`);
    // Told by whoever waits for a count or for the end.
    this.#result.catch(() => undefined);
  }

  /** Starts to count at the beginning of these devices or files, and resolves when both show a count. */
  static async start(machine: Machine, places: readonly [string, string]): Promise<CountingWriter> {
    const writer = new CountingWriter(machine, places);
    await writer.reach(1);
    return writer;
  }

  /** Resolves when it has counted that far on both disks. */
  async reach(count: number): Promise<void> {
    const reached = this.#machine.output(
      `until [ -e ended ] || [ "$(cat count 2>/dev/null)" -ge ${count} ] 2>/dev/null; do
         cd ${this.#folder} 2>/dev/null; usleep 5000
       done`,
    );
    const ended = this.#result.then(({ output }) =>
      Promise.reject(new Error(`counting has ended: ${output}`)),
    );
    await Promise.race([reached, ended]);
  }

  /** Ends it, and gives the last count: both places hold it. */
  async stop(): Promise<number> {
    await this.#machine.output(`touch ${this.#folder}/stop`);
    const { output, status } = await this.#result;
    if (status !== 0) throw new Error(`counting has failed: ${output}`);
    return Number(await this.#machine.output(`cat ${this.#folder}/count`));
  }
}

/** The count in the bytes of a place; NaN where there is none. */
export function countIn(bytes: Uint8Array): number {
  const text = Buffer.from(bytes).toString('latin1', 0, countLength).trim();
  return /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
}

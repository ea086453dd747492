import { join } from 'node:path';
import { z } from 'zod';
import { readIfThere, writeDurably } from '../../../durable-file.js';
import { messageOf, StillError } from '../../../errors.js';

const base = z.strictObject({ id: z.string(), sizeBytes: z.int().nonnegative() });
const schema = z.strictObject({
  version: z.literal(1),
  chains: z.record(z.string(), z.record(z.string(), base)),
});

/** How large a disk was at the base of a chain: QEMU's bitmaps grow with their disks, and call what is new clean. */
export type ChainBase = z.output<typeof base>;

/** What a guest's state folder knows of the last successful snapshot of each chain, disk by disk. */
export class ChainBases {
  readonly #path: string;

  constructor(folder: string) {
    this.#path = join(folder, 'chains.json');
  }

  async of(chain: string): Promise<Readonly<Record<string, ChainBase>>> {
    return (await this.#read()).chains[chain] ?? {};
  }

  /** Notes the bases of some disks of a chain; those of its other disks stay. */
  async note(chain: string, bases: Readonly<Record<string, ChainBase>>): Promise<void> {
    const all = await this.#read();
    all.chains[chain] = { ...all.chains[chain], ...bases };
    await writeDurably(this.#path, `${JSON.stringify(all, undefined, 2)}\n`);
  }

  async drop(chain: string): Promise<void> {
    const all = await this.#read();
    if (!(chain in all.chains)) return;
    delete all.chains[chain];
    await writeDurably(this.#path, `${JSON.stringify(all, undefined, 2)}\n`);
  }

  async #read(): Promise<z.output<typeof schema>> {
    const text = await readIfThere(this.#path);
    if (text === undefined) return { version: 1, chains: {} };
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      throw new StillError(
        'EIO',
        `${this.#path} is damaged: remove it, and the next snapshot of each chain has the whole disk dirty: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }
}

import type { Logger } from '../../src/log.js';
import type { Forest } from '../forest/forest.js';
import type { Device } from './device.js';
import type { OpenFiles } from './open-handles.js';
import { invalidEntry } from './protocol/notification.js';

/**
 * How many nodes the kernel may know before it is asked to forget some. It forgets by itself only when the machine runs short of memory,
 * and each node takes up to 400 bytes of the daemon's, whose heap has a limit of its own. To ask takes some 45 µs for each,
 * longer than most walks take to find one, so it is not done early.
 */
export const mostKnownNodes = 1 << 21;

/** How far below that it is brought, as a part of it. */
const pruned = 1 / 8;

/**
 * Has the kernel let go of names that it found long ago, when it knows very many. Folders stay, for somebody may stand in one or have
 * mounted something upon it; so do files that are open. A name that is asked for again is looked up again.
 */
export class Pruning {
  #running = false;
  /** More nodes than these are too many: more than there may be, or than there were left last time. */
  #bound: number;
  #candidates: ReturnType<Forest['knownFiles']> | undefined;

  constructor(
    private readonly device: Device,
    private readonly forest: Forest,
    private readonly files: OpenFiles,
    private readonly log: Logger,
    private readonly most: number,
  ) {
    this.#bound = most;
  }

  /** To be called when the kernel was told of nodes. */
  check(): void {
    if (this.#running || this.forest.knownNodes <= this.#bound) return;
    this.#running = true;
    this.#prune()
      .catch((error: unknown) => {
        this.log.warn({ error }, 'the kernel could not be asked to forget files');
      })
      .finally(() => {
        this.#running = false;
        this.#bound = Math.max(this.most, this.forest.knownNodes + Math.ceil(this.most * pruned));
      });
  }

  async #prune(): Promise<void> {
    const enough = Math.floor(this.most * (1 - pruned));
    // On from where it ended last, and once around: what was not forgotten before is in use, perhaps by another name.
    for (let ends = 0; ends < 2 && this.forest.knownNodes > enough; ) {
      this.#candidates ??= this.forest.knownFiles();
      const candidate = this.#candidates.next();
      if (candidate.done) {
        this.#candidates = undefined;
        ends++;
        continue;
      }
      const { node, at } = candidate.value;
      if (this.files.opensOf(node.number) === 0)
        await this.device.notify(invalidEntry(at.folder.number, at.name));
    }
  }
}

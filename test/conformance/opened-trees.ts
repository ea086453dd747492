import { hostTree } from '../../src/tree/port/host-tree.js';
import type { Tree } from '../../src/tree/tree.js';
import { CommandSender, perform } from './commands.js';
import { type TreeName, trees } from './trees/all.js';
import type { Plain } from './trees/tree-under-test.js';

/** Where the tree lives: in the process that serves the mount, or in a worker of it. */
export const hostings = ['in-process', 'worker'] as const;
export type Hosting = (typeof hostings)[number];

export function isHosting(name: unknown): name is Hosting {
  return name === 'in-process' || name === 'worker';
}

/** What hosted trees of the suite get; small, so that a hang or a greedy tree ends soon. */
export const limits = { silence: 2, memory: 96 };

interface Opened {
  readonly tree: Tree;
  readonly command: (command: string, argument: Plain) => Promise<Plain>;
}

/** The trees that a server has opened so far, each once. */
export class OpenedTrees {
  readonly #hosting: Hosting;
  readonly #opened = new Map<TreeName, Promise<Opened>>();
  readonly #senders: CommandSender[] = [];

  constructor(hosting: Hosting) {
    this.#hosting = hosting;
  }

  async tree(name: TreeName): Promise<Tree> {
    return (await this.#open(name)).tree;
  }

  async command(name: TreeName, command: string, argument: Plain): Promise<Plain> {
    return (await this.#open(name)).command(command, argument);
  }

  async close(): Promise<void> {
    for (const opened of this.#opened.values()) await (await opened).tree.close();
    for (const sender of this.#senders) sender.close();
  }

  #open(name: TreeName): Promise<Opened> {
    let opened = this.#opened.get(name);
    if (!opened) {
      opened = this.#hosting === 'worker' ? this.#host(name) : this.#make(name);
      this.#opened.set(name, opened);
    }
    return opened;
  }

  async #make(name: TreeName): Promise<Opened> {
    const { tree, commands = {} } = trees[name]();
    return { tree, command: (command, argument) => perform(commands, command, argument) };
  }

  async #host(name: TreeName): Promise<Opened> {
    const entry = new URL('./hosted-entry.js', import.meta.url);
    const tree = await hostTree({ name: `the tree ${name}`, entry, data: name, ...limits });
    const sender = new CommandSender(name);
    this.#senders.push(sender);
    return { tree, command: (command, argument) => sender.send(command, argument) };
  }
}

import { BroadcastChannel } from 'node:worker_threads';
import type { Plain, TreeUnderTest } from './trees/tree-under-test.js';

/**
 * How a test's commands reach a tree in a worker: beside the port that serves it, which carries nothing but the tree.
 */
export function commandChannel(tree: string): string {
  return `commands of ${tree}`;
}

interface Command {
  readonly id: number;
  readonly command: string;
  readonly argument: Plain;
}

type Outcome = { readonly id: number } & ({ readonly value: Plain } | { readonly error: string });

export async function perform(
  commands: NonNullable<TreeUnderTest['commands']>,
  command: string,
  argument: Plain,
): Promise<Plain> {
  const action = commands[command];
  if (!action) throw new RangeError(`there is no command ${command}`);
  return action(argument);
}

/** Answers commands for as long as the thread lives. */
export function answerCommands(
  channel: BroadcastChannel,
  commands: NonNullable<TreeUnderTest['commands']>,
): void {
  channel.onmessage = (event) => {
    const { id, command, argument } = (event as { readonly data: Command }).data;
    perform(commands, command, argument).then(
      (value) => channel.postMessage({ id, value } satisfies Outcome),
      (error: unknown) => channel.postMessage({ id, error: String(error) } satisfies Outcome),
    );
  };
}

/** The other end: sends commands to a tree in a worker. */
export class CommandSender {
  readonly #channel: BroadcastChannel;
  readonly #waiting = new Map<number, (outcome: Outcome) => void>();
  #lastId = 0;

  constructor(tree: string) {
    this.#channel = new BroadcastChannel(commandChannel(tree));
    this.#channel.onmessage = (event) => {
      const outcome = (event as { readonly data: Outcome }).data;
      this.#waiting.get(outcome.id)?.(outcome);
      this.#waiting.delete(outcome.id);
    };
  }

  async send(command: string, argument: Plain): Promise<Plain> {
    const id = ++this.#lastId;
    const outcome = await new Promise<Outcome>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#channel.postMessage({ id, command, argument } satisfies Command);
    });
    if ('error' in outcome) throw new Error(outcome.error);
    return outcome.value;
  }

  close(): void {
    this.#channel.close();
  }
}

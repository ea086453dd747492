import { execa } from 'execa';
import type { Hosting, MountedTrees, Options } from '../mounted-trees.js';
import type { TreeName } from '../trees/all.js';

/** What a behaviour is tried on. */
export interface Trial {
  /** All trees in one mount, which others use too. */
  readonly shared: MountedTrees;
  /** A mount for this behaviour alone. */
  fresh(tree: TreeName | 'all', options?: Options): Promise<MountedTrees>;
  /** An empty folder outside the mount, for this behaviour alone. */
  folder(): Promise<string>;
}

/** Something that must hold of a mount, whatever carries it. */
export interface Behaviour {
  /** In one sentence. */
  readonly must: string;
  /** Where it can be asked for only if trees are hosted so. */
  readonly hosting?: Hosting;
  readonly check: (trial: Trial) => Promise<void>;
}

/** What a program writes to its standard output. It fails where the program does, or writes to standard error. */
export async function run(program: string, ...args: string[]): Promise<Buffer> {
  const { stdout, stderr } = await execa(program, args, {
    encoding: 'buffer',
    stripFinalNewline: false,
    timeout: 30_000,
    env: { LC_ALL: 'C' },
  });
  if (stderr.length > 0) throw new Error(`${program} complained: ${Buffer.from(stderr).toString()}`);
  return Buffer.from(stdout);
}

/** What a shell's command writes to its standard output. */
export function shell(script: string, ...args: string[]): Promise<Buffer> {
  // A bash that finds a socket as its input may think that it was started from afar, and read what it finds in /etc.
  return run('bash', '--norc', '-euo', 'pipefail', '-c', script, 'sh', ...args);
}

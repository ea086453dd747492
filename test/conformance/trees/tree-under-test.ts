import type { Tree } from '../../../src/tree/tree.js';

/** What goes between a test and the process that serves its tree. */
export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

/** A tree with an odd behaviour, and what a test may tell or ask it meanwhile, by name. */
export interface TreeUnderTest {
  readonly tree: Tree;
  readonly commands?: Readonly<Record<string, (argument: Plain) => Plain | Promise<Plain>>>;
}

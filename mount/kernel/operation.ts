import type { Logger } from '../../src/log.js';
import type { Forest, Node } from '../forest/forest.js';
import type { BackingFiles } from './backing-files.js';
import type { OpenFiles, OpenFolders } from './open-handles.js';
import type { Session } from './protocol/init.js';

/** What the operations of one mount share. */
export interface MountState {
  readonly forest: Forest;
  readonly files: OpenFiles;
  readonly folders: OpenFolders;
  readonly session: Session;
  /** Undefined where the kernel can't read files by itself. */
  readonly backing: BackingFiles | undefined;
  readonly readOnly: boolean;
  /** Tells nodes of this mount from nodes of others that had the same number. */
  readonly generation: bigint;
  readonly log: Logger;
}

/** A reply's message, with the header still to be sealed. */
export type Answer = Buffer | AnswerThatMayBeLost;

/** A reply that gives the kernel something to hold: where it can't be delivered, that is taken back. */
export interface AnswerThatMayBeLost {
  readonly message: Buffer;
  undelivered(): void;
}

/** Answers a request about a node. It takes what it needs of `body` before it awaits. */
export type Operation = (state: MountState, node: Node, body: Buffer, signal: AbortSignal) => Promise<Answer>;

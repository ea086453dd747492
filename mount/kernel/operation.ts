import type { Logger } from '../../src/log.js';
import type { Forest, Node } from '../forest/forest.js';
import type { BackingFiles } from './backing-files.js';
import type { OpenFiles, OpenFolders } from './open-handles.js';
import type { Session } from './protocol/init.js';
import type { ReadBuffers } from './read-buffers.js';
import type { StoredContents } from './stored-contents.js';

/** What the operations of one mount share. */
export interface MountState {
  readonly forest: Forest;
  readonly files: OpenFiles;
  readonly folders: OpenFolders;
  readonly session: Session;
  /** Undefined where the kernel can't read files by itself. */
  readonly backing: BackingFiles | undefined;
  readonly buffers: ReadBuffers;
  readonly stored: StoredContents;
  readonly readOnly: boolean;
  /** Tells nodes of this mount from nodes of others that had the same number. */
  readonly generation: bigint;
  readonly log: Logger;
}

/** A reply's message, with the header still to be sealed. */
export type Answer = Buffer | AnswerWithAftermath;

/** A reply after whose sending there is something to do. */
export interface AnswerWithAftermath {
  readonly message: Buffer;
  /** Called right before the message is sent. */
  before?(): void;
  /** The kernel has taken the message: its bytes may be used again. */
  delivered?(): void;
  /** Nobody waited for the reply any more: what it gave the kernel to hold is taken back. */
  undelivered?(): void;
}

/** Answers a request about a node. It takes what it needs of `body` before it awaits. */
export type Operation = (state: MountState, node: Node, body: Buffer, signal: AbortSignal) => Promise<Answer>;

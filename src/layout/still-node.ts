import type { Name } from '../name.js';
import type { Time } from '../time.js';
import type { FolderNode } from './node.js';
import type { Still } from './still.js';

/** The folder of a backup or a snapshot, as far as what is shown in it needs to know. */
export interface StillNode<File extends { readonly name: Name } = { readonly name: Name }>
  extends FolderNode {
  /** The instant that is shown. */
  readonly time: Time;
  /** True for a snapshot: it ends while it is looked at, and its disks can be given back. */
  readonly live: boolean;
  /** What is shown, looked at lately. ESTALE: it is there no more. */
  still(signal: AbortSignal): Promise<Still<File>>;
}

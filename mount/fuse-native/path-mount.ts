import type { Complaints } from '../complaints.js';
import type { Forest } from '../forest/forest.js';
import type { OpenFiles } from './open-files.js';
import type { PathNodes } from './path-nodes.js';

/** What the operations of one mount share. */
export interface PathMount {
  readonly forest: Forest;
  readonly paths: PathNodes;
  readonly files: OpenFiles;
  readonly readOnly: boolean;
  readonly complaints: Complaints;
}

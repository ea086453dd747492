import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { LayoutContext } from './context.js';
import type { StillNode } from './still-node.js';
import { madeText, TextFile } from './text-file.js';

/** `PROBLEM.txt`: what of a backup or a snapshot can't be shown, and why. Only there while something can't. */
export function problemFile(context: LayoutContext, path: Name, parent: StillNode): TextFile {
  const source = madeText(async (signal) => {
    const still = await parent.still(signal);
    if (still.hasProblems) return { bytes: Buffer.from(still.problemText, 'utf8'), modified: parent.time };
    throw new StillError('ESTALE', `${nameToText(still.path)} has no problems any more`);
  });
  return new TextFile(context, path, parent, source);
}

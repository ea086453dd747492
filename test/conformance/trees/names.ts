import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

const everyByte = Array.from({ length: 255 }, (_, index) => String.fromCharCode(index + 1)).filter(
  (char) => char !== '/',
);

/** Names, one char a byte. Each file holds its own name. */
export const oddNames: readonly string[] = [
  ...everyByte.filter((char) => char !== '.'),
  everyByte.slice(0, 128).join(''),
  everyByte.slice(128).join(''),
  'n'.repeat(255),
  '\xff'.repeat(255),
  // As volumes of Windows have them: 255 characters.
  Buffer.from('漢'.repeat(255)).toString('latin1'),
  ' leading and trailing space ',
  '-rf',
  '...',
  '..a',
  'line\nfeed',
  'back\\slash',
  '"quotes\'',
  'not utf-8: \xc3\x28',
  Buffer.from('utf-8: ü 漢 🗂').toString('latin1'),
  // The same letters in two normal forms are two names.
  Buffer.from('\u00e9').toString('latin1'),
  Buffer.from('e\u0301').toString('latin1'),
];

/** Targets of the symlinks `target-0`, `target-1`…, one char a byte. */
export const oddTargets: readonly string[] = [
  'plain',
  '../../etc/passwd',
  '/absolute',
  'trailing/',
  everyByte.join(''),
  `${'\xff/'.repeat(2047)}\xff`,
];

/** Names and link targets of any bytes. */
export function namesTree(): TreeUnderTest {
  const tree = new MemoryTree();
  const odd = tree.link(tree.root, 'odd', tree.addFolder());
  for (const name of oddNames) tree.link(odd, name, tree.addFile(Buffer.from(name, 'latin1')));
  const targets = tree.link(tree.root, 'targets', tree.addFolder());
  for (const [index, target] of oddTargets.entries()) {
    tree.link(targets, `target-${index}`, tree.addSymlink(Buffer.from(target, 'latin1')));
  }
  return { tree };
}

import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

export const hugeEntries = 100_000;
/** How many of them go away at a change; as many others come. */
export const changingEntries = 1000;

export const stayingName = (index: number): string => `stays-${String(index).padStart(6, '0')}`;

/** A folder of 100 000 names, of which some go and some come when told. */
export function hugeTree(): TreeUnderTest {
  const tree = new MemoryTree();
  const folder = tree.link(tree.root, 'folder', tree.addFolder({ freshSeconds: 0 }));
  const file = tree.addFile('small', { links: hugeEntries });
  const every = hugeEntries / changingEntries;
  for (let index = 0; index < hugeEntries; index++) {
    tree.link(folder, index % every === 0 ? `goes-${index}` : stayingName(index), file);
  }
  let changes = 0;
  const change = (): null => {
    for (let index = 0; index < hugeEntries; index += every) {
      tree.unlink(folder, changes % 2 === 0 ? `goes-${index}` : `came-${index}`);
      tree.link(folder, changes % 2 === 0 ? `came-${index}` : `goes-${index}`, file);
    }
    changes++;
    return null;
  };
  return { tree, commands: { change } };
}

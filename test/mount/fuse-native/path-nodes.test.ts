import { expect, test } from 'vitest';
import { Forest } from '../../../mount/forest/forest.js';
import { PathNodes } from '../../../mount/fuse-native/path-nodes.js';
import { nameFromText } from '../../../src/name.js';
import type { Inode } from '../../../src/tree/attributes.js';
import { MemoryTree } from '../../conformance/memory-tree.js';
import { gate } from '../forest/gate.js';

const never = new AbortController().signal;

/** Counts look-ups, and what it is told to forget. */
class CountingTree extends MemoryTree {
  lookups = 0;
  readonly forgotten: Inode[] = [];
  before: () => Promise<void> = async () => undefined;

  override async lookup(...args: Parameters<MemoryTree['lookup']>): ReturnType<MemoryTree['lookup']> {
    this.lookups++;
    const found = await super.lookup(...args);
    await this.before();
    return found;
  }

  forget(inode: Inode): void {
    this.forgotten.push(inode);
  }
}

function planted(files = 3): { tree: CountingTree; forest: Forest; folder: Inode } {
  const tree = new CountingTree();
  const folder = tree.link(tree.root, 'folder', tree.addFolder());
  for (let index = 0; index < files; index++) tree.link(folder, `file-${index}`, tree.addFile(`${index}`));
  return { tree, forest: new Forest(tree, () => undefined), folder };
}

function inodeAt(paths: PathNodes, path: string): Promise<Inode> {
  return paths.use(path, never, async ({ inode }) => inode);
}

test('what holds for ever is looked up once', async () => {
  const { tree, forest } = planted();
  const paths = new PathNodes(forest);
  const first = await inodeAt(paths, '/folder/file-1');
  expect(await inodeAt(paths, '/folder/file-1')).toBe(first);
  expect(tree.lookups).toBe(2);
  expect(await inodeAt(paths, '/')).toBe(tree.root);
});

test('what does not hold is looked up each time, and nothing of it is kept', async () => {
  const { tree, forest, folder } = planted();
  tree.describe(folder, { freshSeconds: 0 });
  tree.describe(tree.root, { freshSeconds: 0 });
  const paths = new PathNodes(forest);
  await inodeAt(paths, '/folder/file-1');
  await inodeAt(paths, '/folder/file-1');
  expect(tree.lookups).toBe(4);
  expect([paths.size, forest.knownNodes]).toEqual([0, 1]);
});

test('every look-up is forgotten in the end, also those that failed and those at once', async () => {
  const { tree, forest, folder } = planted(50);
  const paths = new PathNodes(forest, 10);
  const all = Array.from({ length: 200 }, (_, index) => inodeAt(paths, `/folder/file-${index % 60}`));
  const failed = (await Promise.allSettled(all)).filter(({ status }) => status === 'rejected');
  expect(failed).toHaveLength(30);
  const stopped = AbortSignal.abort(new Error('enough'));
  await expect(paths.use('/folder', stopped, () => Promise.reject(stopped.reason))).rejects.toThrow('enough');
  expect(paths.size).toBe(10);
  paths.clear();
  expect(forest.knownNodes).toBe(1);
  expect(new Set(tree.forgotten).size).toBe(51);
  expect(tree.forgotten).toContain(folder);
});

test('a node in use stays known though its name is dropped meanwhile', async () => {
  const { tree, forest } = planted(20);
  const paths = new PathNodes(forest, 2);
  await paths.use('/folder/file-0', never, async (node) => {
    for (let index = 1; index < 20; index++) await inodeAt(paths, `/folder/file-${index}`);
    expect(forest.known(node.number)).toBe(node);
    expect(tree.forgotten).not.toContain(node.inode);
  });
  expect(paths.size).toBe(2);
});

test('a name that has changed is looked up anew, and its neighbours are not', async () => {
  const { tree, forest, folder } = planted();
  const paths = new PathNodes(forest);
  const before = await inodeAt(paths, '/folder/file-1');
  await inodeAt(paths, '/folder/file-2');
  tree.unlink(folder, 'file-1');
  const after = tree.link(folder, 'file-1', tree.addFile('new'));
  expect(await inodeAt(paths, '/folder/file-1')).toBe(before);
  await paths.use('/folder', never, async (node) => paths.changed(node, nameFromText('file-1')));
  expect(await inodeAt(paths, '/folder/file-1')).toBe(after);
  const lookups = tree.lookups;
  await inodeAt(paths, '/folder/file-2');
  expect(tree.lookups).toBe(lookups);
});

test('an answer from before a change is not kept after it', async () => {
  const { tree, forest, folder } = planted();
  const paths = new PathNodes(forest);
  await inodeAt(paths, '/folder');
  const closed = gate();
  tree.before = () => closed.opened;
  const early = inodeAt(paths, '/folder/file-1');
  await Promise.resolve();
  tree.unlink(folder, 'file-1');
  await paths.use('/folder', never, async (node) => paths.changed(node, nameFromText('file-1')));
  closed.open();
  await early;
  await expect(inodeAt(paths, '/folder/file-1')).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a folder that was replaced has none of the old one’s names', async () => {
  const { tree, forest, folder } = planted();
  tree.describe(tree.root, { freshSeconds: 0 });
  const paths = new PathNodes(forest);
  await inodeAt(paths, '/folder/file-1');
  tree.unlink(tree.root, 'folder');
  const other = tree.link(tree.root, 'folder', tree.addFolder());
  expect(other).not.toBe(folder);
  await expect(inodeAt(paths, '/folder/file-1')).rejects.toMatchObject({ code: 'ENOENT' });
});

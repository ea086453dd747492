import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Forest, type FoundNode, type Node } from '../../../mount/forest/forest.js';
import { nodeNumber, treeNumbers } from '../../../mount/forest/node-number.js';
import { StillError } from '../../../src/errors.js';
import { type Name, nameFromText } from '../../../src/name.js';
import type { Tree } from '../../../src/tree/tree.js';
import { MemoryTree } from '../../conformance/memory-tree.js';
import { gate } from './gate.js';
import { GraftingTree } from './grafting-tree.js';

const never = new AbortController().signal;
const parent = '..' as Name;

function forestOf(tree: Tree): Forest {
  return new Forest(tree, () => undefined);
}

async function find(forest: Forest, path: string, from: Node = forest.root): Promise<FoundNode> {
  const [name = '', ...rest] = path.split('/');
  const found = await forest.lookup(from, nameFromText(name), never);
  if (!found.node) throw new StillError('ENOENT', `there is no ${path}`);
  if (rest.length === 0) return found;
  try {
    return await find(forest, rest.join('/'), found.node);
  } finally {
    forest.forget(found.node.number, 1);
  }
}

/** A tree with one file, whose inodes are the same in every such tree. */
function guest(content: string): MemoryTree {
  const tree = new MemoryTree(2n);
  tree.link(tree.root, 'file', tree.addFile(content));
  return tree;
}

describe('numbers', () => {
  test('trees with equal inodes share no number', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    tree.plant('b', async () => guest('b'));
    const forest = forestOf(tree);
    const found = await Promise.all(['a', 'b', 'a/file', 'b/file'].map((path) => find(forest, path)));
    expect(found[2]?.attributes.inode).toBe(found[3]?.attributes.inode);
    expect(new Set([forest.root, ...found.map(({ node }) => node)].map(({ number }) => number)).size).toBe(5);
  });

  test('a file keeps its number over forgetting, over its tree being let go, and over the next mount', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    const forest = forestOf(tree);
    const first = await find(forest, 'a/file');
    forest.forget(first.node.number, 1);
    await nextTurn();
    expect(tree.standing).toBe(0);
    const again = await find(forest, 'a/file');
    expect(again.node.number).toBe(first.node.number);
    const elsewhere = await find(forestOf(tree), 'a/file');
    expect(elsewhere.node.number).toBe(first.node.number);
  });

  test("the mount's root is number 1, and the inode 1 of its tree is another number", async () => {
    const tree = new MemoryTree(0n);
    const folder = tree.link(tree.root, 'folder', tree.addFolder());
    expect([tree.root, folder]).toEqual([0n, 1n]);
    const forest = forestOf(tree);
    expect(forest.root.number).toBe(1n);
    const { node } = await find(forest, 'folder');
    expect(node.number).toBe(0n);
    const borrowed = await forest.borrow(node.number, never);
    expect(borrowed.node.inode).toBe(folder);
  });

  test('inodes of 64 bits have numbers of their own, apart from all small ones', () => {
    const huge = [2n ** 43n, 2n ** 44n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 44n + 5n];
    const small = [0n, 1n, 5n, 2n ** 43n - 1n];
    const numbers = [0, 1, treeNumbers - 1].flatMap((tree) =>
      [...huge, ...small].map((inode) => nodeNumber(tree, inode)),
    );
    expect(new Set(numbers).size).toBe(numbers.length);
    for (const number of numbers) expect(number < 2n ** 64n).toBe(true);
  });

  test('a huge inode is served while it is known, and is stale once forgotten', async () => {
    const tree = new MemoryTree(2n ** 63n);
    tree.link(tree.root, 'file', tree.addFile('bytes'));
    const forest = forestOf(tree);
    const { node } = await find(forest, 'file');
    expect((await forest.attributes(node, never)).size).toBe(5);
    forest.forget(node.number, 1);
    await expect(forest.borrow(node.number, never)).rejects.toMatchObject({ code: 'ESTALE' });
  });
});

describe('what the kernel knows', () => {
  test('a node is known until it is forgotten as often as it was found, and its tree hears of it once', async () => {
    const tree = new GraftingTree();
    const file = tree.link(tree.root, 'file', tree.addFile('bytes'));
    const forest = forestOf(tree);
    const { node } = await find(forest, 'file');
    await find(forest, 'file');
    forest.remember(node);
    forest.forget(node.number, 2);
    expect(forest.known(node.number)).toBeDefined();
    expect(tree.forgotten).toEqual([]);
    forest.forget(node.number, 1);
    expect(forest.known(node.number)).toBeUndefined();
    expect(tree.forgotten).toEqual([file]);
    forest.forget(node.number, 1);
    expect(tree.forgotten).toEqual([file]);
    expect(forest.knownNodes).toBe(1);
  });

  test('a name that is not there counts nothing', async () => {
    const forest = forestOf(new MemoryTree());
    expect((await forest.lookup(forest.root, nameFromText('nothing'), never)).node).toBeUndefined();
    expect(forest.knownNodes).toBe(1);
  });

  test('the root can not be forgotten', async () => {
    const forest = forestOf(new MemoryTree());
    forest.forget(1n, 1000);
    expect(forest.known(1n)).toBe(forest.root);
  });

  test('a forgotten node can be borrowed by its number, with its tree, until it is given back', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('hello'));
    const forest = forestOf(tree);
    const { node } = await find(forest, 'a/file');
    forest.forget(node.number, 1);
    await nextTurn();
    expect(tree.standing).toBe(0);
    const { node: borrowed, giveBack } = await forest.borrow(node.number, never);
    await nextTurn();
    expect(tree.standing).toBe(1);
    expect((await forest.attributes(borrowed, never)).size).toBe(5);
    giveBack();
    giveBack();
    expect(tree.standing).toBe(0);
    expect(forest.livingTrees).toBe(1);
  });

  test('a number of no tree is stale', async () => {
    const forest = forestOf(new MemoryTree());
    await expect(forest.borrow(nodeNumber(77, 5n), never)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  test('a path is told from where the kernel found its folders', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    const forest = forestOf(tree);
    const folder = await find(forest, 'a');
    const { node } = await find(forest, 'file', folder.node);
    expect(forest.pathOf(node)).toBe('/a/file');
    expect(forest.pathOf(folder.node, nameFromText('ü'))).toBe('/a/ü');
    expect(forest.pathOf(forest.root)).toBe('/');
  });
});

describe('grafts', () => {
  test('a grafted tree stays while a node of it is known', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    const forest = forestOf(tree);
    const { node } = await find(forest, 'a');
    await nextTurn();
    expect(tree.standing).toBe(1);
    const found = await forest.lookup(node, nameFromText('file'), never);
    expect(found.node).toBeDefined();
    forest.forget(node.number, 1);
    expect(tree.standing).toBe(1);
    if (found.node) forest.forget(found.node.number, 1);
    await nextTurn();
    expect(tree.standing).toBe(0);
    expect(forest.livingTrees).toBe(1);
  });

  test('a grafted tree stays while a file of it is held open, though nobody knows its nodes', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    const forest = forestOf(tree);
    const { node } = await find(forest, 'a/file');
    const letGo = forest.hold(node);
    forest.forget(node.number, 1);
    await nextTurn();
    expect(tree.standing).toBe(1);
    letGo();
    letGo();
    expect(tree.standing).toBe(0);
  });

  test('many who come at once open a graft once', async () => {
    const tree = new GraftingTree();
    const folder = tree.plant('a', async () => guest('a'));
    const forest = forestOf(tree);
    const found = await Promise.all(Array.from({ length: 20 }, () => find(forest, 'a')));
    expect(new Set(found.map(({ node }) => node.number)).size).toBe(1);
    expect(tree.openings.get(folder)).toBe(1);
    forest.forget(found[0]?.node.number ?? 0n, 20);
    await nextTurn();
    expect(tree.standing).toBe(0);
  });

  test('who leaves does not end the opening for the others', async () => {
    const tree = new GraftingTree();
    const folder = tree.plant('a', async () => guest('a'));
    const closed = gate();
    tree.gate = () => closed.opened;
    const forest = forestOf(tree);
    const leaving = new AbortController();
    const left = forest.lookup(forest.root, nameFromText('a'), leaving.signal);
    const stayed = forest.lookup(forest.root, nameFromText('a'), never);
    await nextTurn();
    leaving.abort(new StillError('EINTR', 'interrupted'));
    await expect(left).rejects.toMatchObject({ code: 'EINTR' });
    closed.open();
    expect((await stayed).node).toBeDefined();
    expect(tree.openings.get(folder)).toBe(1);
  });

  test('an opening that all have left is aborted, and leaves nothing', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    tree.gate = (signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    const forest = forestOf(tree);
    const leaving = new AbortController();
    const left = forest.lookup(forest.root, nameFromText('a'), leaving.signal);
    await nextTurn();
    leaving.abort(new StillError('EINTR', 'interrupted'));
    await expect(left).rejects.toMatchObject({ code: 'EINTR' });
    await nextTurn();
    expect([forest.livingTrees, forest.knownNodes, tree.standing]).toEqual([1, 1, 0]);
    tree.gate = async () => undefined;
    expect((await find(forest, 'a/file')).attributes.size).toBe(1);
  });

  test('an opening that all have left and that succeeds all the same is released', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    const closed = gate();
    tree.gate = () => closed.opened;
    const forest = forestOf(tree);
    const leaving = new AbortController();
    const left = forest.lookup(forest.root, nameFromText('a'), leaving.signal);
    await nextTurn();
    leaving.abort(new StillError('EINTR', 'interrupted'));
    await expect(left).rejects.toMatchObject({ code: 'EINTR' });
    closed.open();
    await nextTurn();
    await nextTurn();
    expect([forest.livingTrees, tree.standing]).toEqual([1, 0]);
  });

  test('who comes after an opening was abandoned opens anew, and the late first one is released alone', async () => {
    const tree = new GraftingTree();
    const folder = tree.plant('a', async () => guest('a'));
    const first = gate();
    const second = gate();
    const gates = [first.opened, second.opened];
    tree.gate = () => gates.shift() ?? Promise.resolve();
    const forest = forestOf(tree);
    const leaving = new AbortController();
    const left = forest.lookup(forest.root, nameFromText('a'), leaving.signal);
    await nextTurn();
    leaving.abort(new StillError('EINTR', 'interrupted'));
    await expect(left).rejects.toMatchObject({ code: 'EINTR' });
    const second1 = find(forest, 'a');
    await nextTurn();
    first.open();
    await nextTurn();
    await nextTurn();
    // Still one opening for all who come while the second is under way.
    const second2 = find(forest, 'a');
    await nextTurn();
    second.open();
    const nodes = await Promise.all([second1, second2]);
    await nextTurn();
    expect(tree.openings.get(folder)).toBe(2);
    expect([forest.livingTrees, tree.standing]).toEqual([2, 1]);
    const file = await find(forest, 'file', nodes[0].node);
    forest.forget(file.node.number, 1);
    forest.forget(nodes[0].node.number, 2);
    await nextTurn();
    expect([forest.livingTrees, tree.standing]).toEqual([1, 0]);
  });

  test('a graft that fails to open is tried again by the next', async () => {
    const tree = new GraftingTree();
    let fails = true;
    tree.plant('a', async () => {
      if (fails) throw new StillError('EIO', 'damaged');
      return guest('a');
    });
    const forest = forestOf(tree);
    await expect(find(forest, 'a')).rejects.toMatchObject({ code: 'EIO' });
    fails = false;
    expect((await find(forest, 'a')).attributes.type).toBe('directory');
  });

  test('a tree upon a tree that could not be opened is found again when that one can', async () => {
    const middle = new GraftingTree(2n);
    middle.plant('b', async () => guest('hello'));
    const tree = new GraftingTree();
    let fails = false;
    tree.plant('a', async () => {
      if (fails) throw new StillError('EIO', 'damaged');
      return middle;
    });
    const forest = forestOf(tree);
    const { node } = await find(forest, 'a/b/file');
    forest.forget(node.number, 1);
    await nextTurn();
    expect(forest.livingTrees).toBe(1);
    fails = true;
    await expect(forest.borrow(node.number, never)).rejects.toMatchObject({ code: 'EIO' });
    fails = false;
    const borrowed = await forest.borrow(node.number, never);
    expect((await forest.attributes(borrowed.node, never)).size).toBe(5);
    borrowed.giveBack();
    await nextTurn();
    expect([tree.standing, middle.standing]).toEqual([0, 0]);
  });

  test('.. of a grafted root is the folder around the place where it stands, through trees upon trees', async () => {
    const middle = new GraftingTree(2n);
    // The middle tree's root is itself a place for another tree: two grafts upon one folder.
    middle.describe(middle.root, { graft: true });
    const top = guest('top');
    const tree = new GraftingTree();
    const around = tree.link(tree.root, 'around', tree.addFolder());
    tree.plant('a', async () => middle);
    tree.unlink(tree.root, 'a');
    const place = tree.addFolder({ graft: true });
    tree.link(around, 'a', place);
    const upon = Object.assign(tree, {
      graft: async (folder: bigint) => ({
        tree: folder === place ? middle : top,
        release: () => undefined,
      }),
    });
    Object.assign(middle, { graft: async () => ({ tree: top, release: () => undefined }) });
    const forest = forestOf(upon);
    const outer = await find(forest, 'around');
    const inner = await find(forest, 'around/a');
    expect((await find(forest, 'file', inner.node)).attributes.size).toBe(3);
    const back = await forest.lookup(inner.node, parent, never);
    expect(back.node?.number).toBe(outer.node.number);
  });

  test('.. of the root is the root', async () => {
    const forest = forestOf(new MemoryTree());
    const found = await forest.lookup(forest.root, parent, never);
    expect(found.node).toBe(forest.root);
  });

  test('changes are told for nodes that are known, by the tree that changed', async () => {
    const upper = guest('a');
    const tree = new GraftingTree();
    tree.plant('a', async () => upper);
    const told: string[] = [];
    const forest = new Forest(tree, (node, change) => told.push(`${change.kind} ${forest.pathOf(node)}`));
    const root = await find(forest, 'a');
    await nextTurn();
    upper.tell({ kind: 'entry', folder: upper.root, name: nameFromText('file') });
    upper.tell({ kind: 'inode', inode: 12345n });
    expect(told).toEqual(['entry /a']);
    forest.forget(root.node.number, 1);
    await nextTurn();
    upper.tell({ kind: 'inode', inode: upper.root });
    expect(told).toEqual(['entry /a']);
  });
});

describe('the end', () => {
  test('every graft is released once, also when what was under way ends later', async () => {
    const upper = guest('a');
    const tree = new GraftingTree();
    const folder = tree.plant('a', async () => upper);
    const forest = forestOf(tree);
    const { node } = await find(forest, 'a/file');
    await nextTurn();
    const letGo = forest.hold(node);
    const { giveBack } = await forest.borrow(node.number, never);
    forest.forget(node.number, 1);
    forest.close();
    expect(tree.releases.get(folder)).toBe(1);
    letGo();
    giveBack();
    expect(tree.releases.get(folder)).toBe(1);
  });

  test('a graft that is opened when the forest has been closed is released', async () => {
    const tree = new GraftingTree();
    tree.plant('a', async () => guest('a'));
    const closed = gate();
    tree.gate = () => closed.opened;
    const forest = forestOf(tree);
    const late = find(forest, 'a').then(
      () => 'found',
      () => 'refused',
    );
    await nextTurn();
    forest.close();
    closed.open();
    await late;
    await nextTurn();
    await nextTurn();
    expect(tree.standing).toBe(0);
  });
});

import { describe, expect, it } from 'vitest';
import { StillError } from '../../../src/errors.js';
import type { Inode } from '../../../src/tree/attributes.js';
import { parseListed, parsePieces } from '../../../src/tree/port/ahead/listings-ahead.js';
import { packEntries } from '../../../src/tree/port/packed-entries.js';
import type { Tree } from '../../../src/tree/tree.js';
import { MemoryTree } from '../../conformance/memory-tree.js';
import { type Behind, behindPort, unchanging } from './behind-port.js';

const never = new AbortController().signal;

/** Folders in folders, `depth` deep, each with so many of them, and with files. */
function folders(depth: number, count: number): MemoryTree {
  const tree = new MemoryTree();
  const fill = (folder: Inode, left: number): void => {
    for (let file = 0; file < 5; file++) tree.link(folder, `file-${file}`, tree.addFile('content'));
    if (left === 0) return;
    for (let at = 0; at < count; at++) fill(tree.link(folder, `folder-${at}`, tree.addFolder()), left - 1);
  };
  fill(tree.root, depth);
  return tree;
}

type Order = (subfolders: readonly Inode[]) => readonly Inode[];
const asListed: Order = (subfolders) => subfolders;

/** Walks as find does; what it sees: each folder with its entries. */
async function walk(tree: Tree, order: Order = asListed): Promise<ReadonlyMap<Inode, readonly string[]>> {
  const seen = new Map<Inode, readonly string[]>();
  const go = async (folder: Inode): Promise<void> => {
    const names: string[] = [];
    const within: Inode[] = [];
    for (let after = 0n; ; ) {
      const entries = await tree.list(folder, after, never);
      const last = entries.at(-1);
      if (!last) break;
      after = last.cookie;
      for (const { name, type, inode, found } of entries) {
        names.push(`${name} ${inode} ${found?.attributes.size}`);
        if (type === 'directory') within.push(inode);
      }
    }
    seen.set(folder, names);
    for (const each of order(within)) await go(each);
  };
  await go(tree.root);
  return seen;
}

/** A tree whose listings are counted, and some of which fail. */
function counted(tree: MemoryTree): { readonly tree: Tree; listings: number; readonly broken: Set<Inode> } {
  const counts = { listings: 0, broken: new Set<Inode>() };
  const list: Tree['list'] = async (folder, after, signal) => {
    counts.listings++;
    if (counts.broken.has(folder)) throw new StillError('EIO', `folder ${folder} is damaged`);
    return tree.list(folder, after, signal);
  };
  return Object.assign(counts, { tree: { ...unchanging(tree), list } });
}

describe('the folders of somebody who walks', () => {
  it.each<[string, Order]>([
    ['in the order of their listing', asListed],
    ['backwards', (subfolders) => subfolders.toReversed()],
  ])('come before they are asked for: %s', async (_how, order) => {
    const own = folders(4, 6);
    const { tree, asked } = await behindPort(unchanging(own));
    const seen = await walk(tree, order);
    expect(seen).toEqual(await walk(own, order));
    expect(seen.size).toBe(1555);
    expect(asked()).toBeLessThan(100);
  });

  it('come once more when they are walked once more', async () => {
    const own = folders(3, 6);
    const { tree, asked } = await behindPort(unchanging(own));
    const seen = await walk(tree);
    const before = asked();
    expect(await walk(tree)).toEqual(seen);
    expect(asked() - before).toBeLessThan(30);
  });

  it('come in pieces, too, where there are many in one', async () => {
    const own = folders(1, 2000);
    const { tree, asked } = await behindPort(unchanging(own));
    expect(await walk(tree)).toEqual(await walk(own));
    expect(asked()).toBeLessThan(100);
  });

  it('are damaged only where they are, and say so to who lists them', async () => {
    const own = folders(3, 6);
    const { tree: listed, broken } = counted(own);
    const { tree } = await behindPort(listed);
    const all = [...(await walk(own)).keys()];
    for (const at of [9, 10, 100, all.length - 1]) broken.add(all[at] ?? 0n);
    const failed = new Set<Inode>();
    const go = async (folder: Inode): Promise<void> => {
      try {
        const entries = await tree.list(folder, 0n, never);
        for (const { type, inode } of entries) if (type === 'directory') await go(inode);
      } catch (error) {
        expect(error).toMatchObject({ code: 'EIO', message: `folder ${folder} is damaged` });
        failed.add(folder);
      }
    };
    await go(tree.root);
    // Who can't list a folder never learns of what is in it.
    expect([...failed].every((folder) => broken.has(folder))).toBe(true);
    expect(failed.size).toBeGreaterThan(1);
  });

  it('are asked for one by one where the tree tells of changes, or has to be told what is forgotten', async () => {
    const own = folders(3, 6);
    for (const more of [{ watch: own.watch.bind(own) }, { forget: () => undefined }]) {
      const { tree, asked } = await behindPort({ ...unchanging(own), ...more });
      await walk(tree);
      expect(asked()).toBeGreaterThanOrEqual(259);
    }
  });

  it('are not listed for who looks here and there', async () => {
    const own = folders(2, 30);
    const all = [...(await walk(own)).keys()];
    const listed = counted(own);
    const { tree } = await behindPort(listed.tree);
    for (let at = 0; at < all.length; at += 7) await tree.list(all[at] ?? 0n, 0n, never);
    expect(listed.listings).toBeLessThan(400);
  });
});

describe('a listing that is on its way', () => {
  /** A tree in which somebody walks, and whose listings stand still from then on. */
  async function held(): Promise<Behind & { readonly next: Inode; readonly goOn: () => void }> {
    const own = folders(3, 6);
    const all = [...(await walk(own)).keys()];
    let goOn = (): void => undefined;
    const going = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let listings = 0;
    const list: Tree['list'] = async (folder, after, signal) => {
      if (++listings > 10) await going;
      return own.list(folder, after, signal);
    };
    const behind = await behindPort({ ...unchanging(own), list });
    for (const folder of all.slice(0, 5)) await behind.tree.list(folder, 0n, never);
    return { ...behind, next: all[5] ?? 0n, goOn };
  }

  it('is waited for, and not asked for again', async () => {
    const { tree, next, goOn, asked, awaited } = await held();
    const before = asked();
    expect(awaited()).toBe(false);
    const listing = tree.list(next, 0n, never);
    expect(awaited()).toBe(true);
    goOn();
    expect(await listing).toHaveLength(5);
    expect(asked()).toBe(before);
    expect(awaited()).toBe(false);
  });

  it('is waited for no longer than its caller waits', async () => {
    const { tree, next, goOn, awaited } = await held();
    const giveUp = new AbortController();
    const listing = tree.list(next, 0n, giveUp.signal);
    const reason = new Error('given up');
    giveUp.abort(reason);
    await expect(listing).rejects.toBe(reason);
    expect(awaited()).toBe(false);
    goOn();
    expect(await tree.list(next, 0n, never)).toHaveLength(5);
  });

  it('does not come from a tree that has broken down', async () => {
    const { tree, next, breakDown } = await held();
    const listing = tree.list(next, 0n, never);
    breakDown();
    await expect(listing).rejects.toMatchObject({ code: 'EIO', message: 'the worker has ended' });
  });
});

it('pieces of listings are refused where they are not what they say', () => {
  const piece = { folder: 1n, after: 0n };
  const entries = packEntries({ entries: [], last: true });
  expect(parsePieces([piece])).toEqual([piece]);
  expect(parseListed({ listings: [{ ...piece, entries }, piece] })).toEqual([
    { ...piece, entries },
    { ...piece, entries: undefined },
  ]);
  for (const wrong of [
    undefined,
    [undefined],
    [{ folder: 1 }],
    [{ folder: 1n, after: -1n }],
    Array(100).fill(piece),
  ])
    expect(() => parsePieces(wrong)).toThrow('malformed');
  for (const wrong of [undefined, [{ ...piece, entries: {} }], [{ entries }]])
    expect(() => parseListed({ listings: wrong })).toThrow('malformed');
});

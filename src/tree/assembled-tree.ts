import { StillError } from '../errors.js';
import type { Name } from '../name.js';
import type { Attributes, Inode } from './attributes.js';
import type { Access, Capacity, Entry, Found, Graft, Opened, Tree } from './tree.js';

/** What stands at a path of a tree in place of what lies there. */
export interface MountPoint {
  /** The names that lead there; at least one. */
  readonly path: readonly Name[];
  /** Opens the tree that stands there, which is closed when it is let go. Without it the name is not shown. */
  readonly open: ((signal: AbortSignal) => Promise<Tree>) | undefined;
}

interface Mount {
  readonly inode: Inode;
  readonly path: readonly Name[];
  readonly open: MountPoint['open'];
}

/** The last inodes of all: no file system counts so far. */
const lastInode = 2n ** 64n - 1n;
const lasting = Number.POSITIVE_INFINITY;
const parentName = '..' as Name;

/**
 * A tree with others mounted in it, as a guest has its file systems. `base` is the new tree's to close, also when this
 * fails. What is mounted within what is mounted is that one's own matter. A place that is not there is told to `missing`.
 */
export async function assembleTree(
  base: Tree,
  mountPoints: readonly MountPoint[],
  missing: (path: readonly Name[], reason: string) => void,
  signal: AbortSignal,
): Promise<Tree> {
  const mounts = new Map<Inode, Map<Name, Mount>>();
  try {
    for (const [index, { path, open }] of mountPoints.entries()) {
      const name = path.at(-1);
      const folder = await folderAt(base, path.slice(0, -1), signal);
      const there =
        name !== undefined && folder && (await base.lookup(folder.inode, name, signal)).attributes;
      if (!there) missing(path, 'there is nothing that it could be mounted on');
      else if (there.type !== 'directory') missing(path, `it would be mounted on a ${there.type}`);
      else {
        const names = mounts.get(folder.inode) ?? new Map<Name, Mount>();
        mounts.set(folder.inode, names.set(name, { inode: lastInode - BigInt(index), path, open }));
      }
    }
  } catch (error) {
    await base.close();
    throw error;
  }
  return mounts.size === 0 ? base : new AssembledTree(base, mounts);
}

/** Walks to a folder, along no link. */
async function folderAt(
  tree: Tree,
  path: readonly Name[],
  signal: AbortSignal,
): Promise<Attributes | undefined> {
  let folder = await tree.attributes(tree.root, signal);
  for (const name of path) {
    const { attributes } = await tree.lookup(folder.inode, name, signal);
    if (attributes?.type !== 'directory') return undefined;
    folder = attributes;
  }
  return folder;
}

class AssembledTree implements Tree {
  readonly root: Inode;
  readonly watch?: NonNullable<Tree['watch']>;
  readonly #base: Tree;
  /** By the folder that the mount point lies in, and its name there: nothing else tells an empty subvolume from another. */
  readonly #mounts: ReadonlyMap<Inode, ReadonlyMap<Name, Mount>>;
  readonly #byInode: ReadonlyMap<Inode, Mount>;
  readonly #mounted = new Set<Tree>();
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(base: Tree, mounts: ReadonlyMap<Inode, ReadonlyMap<Name, Mount>>) {
    this.root = base.root;
    this.#base = base;
    if (base.watch) this.watch = base.watch.bind(base);
    this.#mounts = mounts;
    const all = [...mounts.values()].flatMap((names) => [...names.values()]);
    this.#byInode = new Map(all.map((mount) => [mount.inode, mount]));
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const below = this.#byInode.get(folder);
    if (below && name === parentName) {
      const parent = await folderAt(this.#base, below.path.slice(0, -1), signal);
      return { ...(parent && { attributes: parent }), freshSeconds: lasting };
    }
    const mount = this.#mounts.get(folder)?.get(name);
    if (!mount) return this.#base.lookup(folder, name, signal);
    if (!mount.open) return { freshSeconds: lasting };
    return { attributes: await this.attributes(mount.inode, signal), freshSeconds: lasting };
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    if (!this.#byInode.has(inode)) return this.#base.attributes(inode, signal);
    // Whoever finds the folder goes on to the tree upon it: nobody sees more than that there is one.
    return { ...(await this.#base.attributes(this.root, signal)), inode, graft: true };
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    const mounts = this.#mounts.get(folder);
    if (!mounts) return this.#base.list(folder, after, signal);
    for (let from = after; ; ) {
      const entries = await this.#base.list(folder, from, signal);
      const shown = entries.flatMap((entry): Entry[] => {
        const mount = mounts.get(entry.name);
        if (!mount) return [entry];
        const { name, cookie } = entry;
        return mount.open ? [{ name, cookie, inode: mount.inode, type: 'directory' }] : [];
      });
      const last = entries.at(-1);
      // None means the end, so those that hold nothing but what is not shown are passed over.
      if (shown.length > 0 || !last) return shown;
      from = last.cookie;
    }
  }

  async graft(folder: Inode, signal: AbortSignal): Promise<Graft> {
    const open = this.#byInode.get(folder)?.open;
    if (!open) {
      if (this.#base.graft) return this.#base.graft(folder, signal);
      throw new StillError('EINVAL', `nothing is mounted on inode ${folder}`);
    }
    const tree = await open(signal);
    this.#mounted.add(tree);
    const release = (): void => this.#letGo(tree);
    if (!this.#closed) return { tree, release };
    release();
    throw new StillError('EIO', 'the tree was let go');
  }

  readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    return this.#base.readlink(inode, signal);
  }

  xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    return this.#base.xattr(inode, name, signal);
  }

  xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    return this.#base.xattrs(inode, signal);
  }

  open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    return this.#base.open(inode, access, signal);
  }

  read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    return this.#base.read(handle, offset, target, signal);
  }

  async seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    if (this.#base.seek) return this.#base.seek(handle, offset, wanted, signal);
    throw new StillError('EOPNOTSUPP', 'the tree does not tell where its files have holes');
  }

  release(handle: number): Promise<void> {
    return this.#base.release(handle);
  }

  forget(inode: Inode): void {
    this.#base.forget?.(inode);
  }

  async capacity(signal: AbortSignal): Promise<Capacity> {
    if (this.#base.capacity) return this.#base.capacity(signal);
    throw new StillError('EOPNOTSUPP', 'the tree does not tell how much room it has');
  }

  /** Also what is mounted is let go: who still looks at it gets errors. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const tree of this.#mounted) this.#letGo(tree);
    await Promise.all([this.#base.close(), ...this.#closing]);
  }

  #letGo(tree: Tree): void {
    if (!this.#mounted.delete(tree)) return;
    const closing = tree.close();
    this.#closing.add(closing);
    // One that fails stays, to be told of when all is closed.
    closing.then(
      () => this.#closing.delete(closing),
      () => undefined,
    );
  }
}

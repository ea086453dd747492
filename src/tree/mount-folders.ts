import { StillError } from '../errors.js';
import type { Name } from '../name.js';
import type { Time } from '../time.js';
import type { MountPoint } from './assembled-tree.js';
import type { Attributes, Inode } from './attributes.js';
import type { Entry, Found, Graft, Opened, Tree } from './tree.js';

/** What the folders are shown with. */
export interface FolderLook {
  readonly uid: number;
  readonly gid: number;
  readonly time: Time;
}

interface FolderOfMounts {
  readonly inode: Inode;
  readonly parent: Inode;
  readonly folders: Map<Name, FolderOfMounts>;
  /** What stands upon it. */
  open: MountPoint['open'];
}

const lasting = Number.POSITIVE_INFINITY;

/** A tree of plain folders, upon the last of which others stand. No path leads on from another one's end. */
export class MountFolders implements Tree {
  readonly root: Inode = 1n;
  readonly #look: FolderLook;
  readonly #folders = new Map<Inode, FolderOfMounts>();

  constructor(mountPoints: readonly MountPoint[], look: FolderLook) {
    this.#look = look;
    const root = this.#add(this.root);
    for (const { path, open } of mountPoints) {
      let folder = root;
      for (const name of path) {
        const next = folder.folders.get(name) ?? this.#add(folder.inode);
        folder.folders.set(name, next);
        folder = next;
      }
      folder.open = open;
    }
  }

  async lookup(inode: Inode, name: Name): Promise<Found> {
    const folder = this.#at(inode);
    const found = name === '..' ? this.#at(folder.parent) : folder.folders.get(name);
    return { ...(found && { attributes: this.#attributes(found) }), freshSeconds: lasting };
  }

  async attributes(inode: Inode): Promise<Attributes> {
    return this.#attributes(this.#at(inode));
  }

  async list(inode: Inode, after: bigint): Promise<readonly Entry[]> {
    const entries = [...this.#at(inode).folders].map(
      ([name, folder], index): Entry => ({
        name,
        inode: folder.inode,
        type: 'directory',
        cookie: BigInt(index + 1),
      }),
    );
    return entries.slice(Number(after));
  }

  async readlink(inode: Inode): Promise<Uint8Array> {
    throw new StillError('EINVAL', `inode ${inode} is a folder, no symlink`);
  }

  async xattr(inode: Inode, name: Name): Promise<Uint8Array> {
    throw new StillError('ENODATA', `inode ${inode} has no attribute ${name}`);
  }

  async xattrs(): Promise<readonly Name[]> {
    return [];
  }

  async open(inode: Inode): Promise<Opened> {
    throw new StillError('EISDIR', `inode ${inode} is a folder`);
  }

  async read(handle: number): Promise<number> {
    throw new StillError('EBADF', `handle ${handle} is not open: there are only folders here`);
  }

  async release(handle: number): Promise<void> {
    throw new StillError('EBADF', `handle ${handle} is not open: there are only folders here`);
  }

  async graft(inode: Inode, signal: AbortSignal): Promise<Graft> {
    const { open } = this.#at(inode);
    if (!open) throw new StillError('EINVAL', `nothing stands upon inode ${inode}`);
    const tree = await open(signal);
    // That closing fails is told by whoever the tree is really of.
    return { tree, release: () => void tree.close().catch(() => undefined) };
  }

  async close(): Promise<void> {
    // What stands upon the folders is closed by whoever had it opened.
  }

  #add(parent: Inode): FolderOfMounts {
    const inode = BigInt(this.#folders.size + 1);
    const folder: FolderOfMounts = { inode, parent, folders: new Map(), open: undefined };
    this.#folders.set(inode, folder);
    return folder;
  }

  #at(inode: Inode): FolderOfMounts {
    const folder = this.#folders.get(inode);
    if (folder) return folder;
    throw new StillError('ESTALE', `there is no folder ${inode}`);
  }

  #attributes({ inode, folders, open }: FolderOfMounts): Attributes {
    const { uid, gid, time } = this.#look;
    return {
      inode,
      type: 'directory',
      permissions: 0o755,
      links: 2 + folders.size,
      uid,
      gid,
      size: 0,
      allocated: 0,
      accessed: time,
      modified: time,
      changed: time,
      freshSeconds: lasting,
      ...(open && { graft: true }),
    };
  }
}

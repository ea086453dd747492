import type { ErrnoName } from '../../../src/errors.js';
import { StillError } from '../../../src/errors.js';
import type { Name } from '../../../src/name.js';
import type { Attributes, Inode } from '../../../src/tree/attributes.js';
import type { Access, Entry, Found, Opened } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

/** What a tree may answer, and a caller shall see. */
export const errnos = [
  'EIO',
  'EACCES',
  'EPERM',
  'ENOENT',
  'ENXIO',
  'EBUSY',
  'EINVAL',
  'ENOSPC',
  'EAGAIN',
  'ENOMEM',
  'ETIMEDOUT',
  'ESTALE',
  'EDQUOT',
  'EHOSTUNREACH',
  'EOPNOTSUPP',
] as const satisfies readonly ErrnoName[];

export const failingOperations = [
  'lookup',
  'attributes',
  'list',
  'readlink',
  'xattr',
  'xattrs',
  'open',
  'read',
] as const;
type Operation = (typeof failingOperations)[number];

/** Each node fails in one operation, with one error: `<operation>/<errno>`. */
class Failing extends MemoryTree {
  readonly #failing = new Map<string, ErrnoName>();

  fail(operation: Operation, inode: Inode, code: ErrnoName): void {
    this.#failing.set(`${operation} ${inode}`, code);
  }

  #maybe(operation: Operation, inode: Inode): void {
    const code = this.#failing.get(`${operation} ${inode}`);
    if (code) throw new StillError(code, `${operation} of inode ${inode} fails, as it shall`);
  }

  override async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const inode = this.node(folder).entries?.inode(name);
    if (inode !== undefined) {
      this.#maybe('lookup', inode);
      const { attributes } = this.node(inode);
      return { attributes, freshSeconds: Number.POSITIVE_INFINITY };
    }
    return super.lookup(folder, name, signal);
  }

  override async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    this.#maybe('attributes', inode);
    return super.attributes(inode, signal);
  }

  override async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    this.#maybe('list', folder);
    const entries = await super.list(folder, after, signal);
    return entries.map(({ found: _, ...entry }) => entry);
  }

  override async readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    this.#maybe('readlink', inode);
    return super.readlink(inode, signal);
  }

  override async xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    this.#maybe('xattr', inode);
    return super.xattr(inode, name, signal);
  }

  override async xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    this.#maybe('xattrs', inode);
    return super.xattrs(inode, signal);
  }

  override async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    this.#maybe('open', inode);
    return super.open(inode, access, signal);
  }
}

/** A node for every operation and errno. */
export function errorsTree(): TreeUnderTest {
  const tree = new Failing();
  for (const operation of failingOperations) {
    const folder = tree.link(tree.root, operation, tree.addFolder());
    for (const code of errnos) {
      const inode = make(tree, operation, code);
      tree.fail(operation, inode, code);
      tree.link(folder, code, inode);
    }
  }
  return { tree };
}

function make(tree: MemoryTree, operation: Operation, code: ErrnoName): Inode {
  const freshSeconds = operation === 'attributes' ? 0 : Number.POSITIVE_INFINITY;
  if (operation === 'list') return tree.addFolder();
  if (operation === 'readlink') return tree.addSymlink('target');
  if (operation !== 'read') return tree.addFile('never seen', { freshSeconds });
  const read = (): never => {
    throw new StillError(code, 'reading fails, as it shall');
  };
  return tree.addFile({ read }, { size: 4096, allocated: 4096 }, 'direct');
}

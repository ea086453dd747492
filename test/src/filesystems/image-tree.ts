import { FileSystemTree } from '../../../src/filesystems/file-system-tree.js';
import { type Name, nameFromText, nameToText } from '../../../src/name.js';
import { Problems } from '../../../src/problems.js';
import type { Attributes, Inode } from '../../../src/tree/attributes.js';
import type { OpenFileSystem } from '../../filesystems/kinds.js';
import { BytesDisk } from '../archives/squashfs/bytes-disk.js';

const signal = new AbortController().signal;

/** The tree of an image in memory, by paths. */
export class ImageTree {
  private constructor(
    readonly tree: FileSystemTree,
    readonly facts: Readonly<Record<string, string>>,
    readonly problems: readonly string[],
  ) {}

  static async open(openFileSystem: OpenFileSystem, bytes: Buffer): Promise<ImageTree> {
    const sentences: string[] = [];
    const problems = new Problems((sentence) => sentences.push(sentence));
    const fileSystem = await openFileSystem(new BytesDisk(bytes), {
      signal,
      problem: (sentence) => problems.add(sentence),
    });
    return new ImageTree(new FileSystemTree(fileSystem, problems), { ...fileSystem.facts }, sentences);
  }

  async inode(path: string): Promise<Inode> {
    let inode = this.tree.root;
    for (const name of path.split('/').filter((part) => part !== '')) {
      const { attributes } = await this.tree.lookup(inode, nameFromText(name), signal);
      if (!attributes) throw new Error(`${path} is not there`);
      inode = attributes.inode;
    }
    return inode;
  }

  async attributes(path: string): Promise<Attributes> {
    return this.tree.attributes(await this.inode(path), signal);
  }

  async names(path: string): Promise<string[]> {
    const names: Name[] = [];
    const folder = await this.inode(path);
    for (let after = 0n; ; ) {
      const rows = await this.tree.list(folder, after, signal);
      const last = rows.at(-1);
      if (!last) return names.map(nameToText);
      names.push(...rows.map(({ name }) => name));
      after = last.cookie;
    }
  }

  async read(path: string, offset = 0, most?: number): Promise<Buffer> {
    const { inode, size } = await this.attributes(path);
    const { handle } = await this.tree.open(inode, 'read', signal);
    try {
      const target = Buffer.alloc(most ?? size - offset, 0xaa);
      return target.subarray(0, await this.tree.read(handle, offset, target, signal));
    } finally {
      await this.tree.release(handle);
    }
  }

  /** The first place that reads as zeros without anything there; the file's end, where there is none. */
  async firstHole(path: string): Promise<number> {
    const { inode } = await this.attributes(path);
    const { handle } = await this.tree.open(inode, 'read', signal);
    try {
      return await this.tree.seek(handle, 0, 'hole', signal);
    } finally {
      await this.tree.release(handle);
    }
  }
}

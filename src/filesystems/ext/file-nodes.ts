import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type {
  FileContent,
  FileNode,
  Folder,
  FolderEntry,
  ListedEntry,
  RegularFile,
  SpecialFile,
  Symlink,
} from '../file-system.js';
import { MappedContent } from '../mapped-content.js';
import { type BlockMap, fileMap } from './block-map.js';
import type { Blocks } from './blocks.js';
import { nameWithoutKey } from './encrypted-name.js';
import type { EntryBlocks } from './entry-blocks.js';
import { ExtendedAttributes } from './extended-attributes.js';
import { ExtentNodes, ExtentTree } from './extent-tree.js';
import { FolderBlocks, IntactBlocks } from './folder-blocks.js';
import { FolderEntries } from './folder-entries.js';
import { IndirectBlocks } from './indirect-blocks.js';
import { InlineContent } from './inline-content.js';
import { InlineFolder } from './inline-folder.js';
import { blockFieldBytes, damaged, type ExtInode, hasFlag } from './inode.js';
import type { Inodes } from './inodes.js';
import type { Superblock } from './superblock.js';

/** limits.h, PATH_MAX with its NUL: Linux makes no longer targets. */
const longestTarget = 4096;

type Xattrs = (signal: AbortSignal) => Promise<ReadonlyMap<Name, Uint8Array>>;

/** Makes files of inodes. */
export class FileNodes {
  readonly superblock: Superblock;
  readonly attributes: ExtendedAttributes;
  readonly problem: (sentence: string) => void;
  readonly #blocks: Blocks;
  readonly #inodes: Inodes;
  readonly #extents: ExtentNodes;
  readonly #intact = new IntactBlocks();

  constructor(superblock: Superblock, blocks: Blocks, inodes: Inodes, problem: (sentence: string) => void) {
    this.superblock = superblock;
    this.problem = problem;
    this.#blocks = blocks;
    this.#inodes = inodes;
    this.#extents = new ExtentNodes(blocks);
    this.attributes = new ExtendedAttributes(superblock, blocks, inodes, (inode, signal) =>
      this.whole(inode, signal),
    );
  }

  /** ESTALE: there is no such file. EIO: its inode is damaged. */
  async node(number: number, signal: AbortSignal): Promise<FileNode> {
    const inode = await this.#inodes.read(number, signal);
    const { type } = inode.attributes;
    switch (type) {
      case 'file':
        return new ExtFile(this, inode);
      case 'directory':
        return new ExtFolder(this, inode);
      case 'symlink':
        return this.#symlink(inode, signal);
      default:
        return new ExtSpecialFile(this, inode, type);
    }
  }

  /** The bytes of an inode. EIO: where they are is damaged. */
  async content(inode: ExtInode, signal: AbortSignal): Promise<FileContent> {
    if (hasFlag(inode, 'inlineData')) return new InlineContent(await this.#inline(inode, signal));
    const map = fileMap(this.#map(inode), this.#blocks);
    return new MappedContent(this.#blocks.disk, this.#blocks.cache, map);
  }

  /** All bytes of an inode at once; whoever asks has looked at its size. */
  async whole(inode: ExtInode, signal: AbortSignal): Promise<Buffer> {
    const bytes = Buffer.alloc(inode.attributes.size);
    await (await this.content(inode, signal)).read(0, bytes, signal);
    return bytes;
  }

  folderBlocks(inode: ExtInode): EntryBlocks {
    if (hasFlag(inode, 'inlineData'))
      return new InlineFolder(inode, (signal) => this.attributes.inlineData(inode, signal));
    return new FolderBlocks(inode, this.#map(inode), this.#blocks, this.#intact);
  }

  #map(inode: ExtInode): BlockMap {
    return hasFlag(inode, 'extents')
      ? new ExtentTree(inode, this.#extents)
      : new IndirectBlocks(inode, this.#blocks);
  }

  /** The bytes of a file that was made longer may end before its size does. */
  async #inline(inode: ExtInode, signal: AbortSignal): Promise<Buffer> {
    const { size } = inode.attributes;
    const rest = size > blockFieldBytes ? await this.attributes.inlineData(inode, signal) : Buffer.alloc(0);
    return Buffer.concat([inode.blockField, rest]).subarray(0, size);
  }

  /** An encrypted one's size is that of what it is shown as. */
  async #symlink(inode: ExtInode, signal: AbortSignal): Promise<ExtSymlink> {
    if (!hasFlag(inode, 'encrypted')) return new ExtSymlink(this, inode, inode.attributes);
    const size = (await this.target(inode, signal)).length;
    return new ExtSymlink(this, inode, { ...inode.attributes, size });
  }

  /** EIO: the symlink is damaged. */
  async target(inode: ExtInode, signal: AbortSignal): Promise<Uint8Array> {
    const { size } = inode.attributes;
    if (size === 0 || size >= longestTarget) throw damaged(inode.number, `it is a symlink of ${size} bytes`);
    const stored = this.#isFast(inode) ? inode.blockField.subarray(0, size) : await this.whole(inode, signal);
    if (!hasFlag(inode, 'encrypted')) return Buffer.from(stored);
    // linux include/linux/fscrypt.h: struct fscrypt_symlink_data, the length and the encrypted bytes
    const length = stored.length >= 2 ? stored.readUInt16LE(0) : 0;
    if (length === 0 || 2 + length > stored.length) throw damaged(inode.number, 'it is no encrypted symlink');
    const shown = nameWithoutKey(stored.subarray(2, 2 + length), { major: 0, minor: 0 });
    return Buffer.from(shown, 'latin1');
  }

  /** Whether i_block is the target itself (ext4_inode_is_fast_symlink): no block is taken up but by attributes. */
  #isFast(inode: ExtInode): boolean {
    const { size, allocated } = inode.attributes;
    if (hasFlag(inode, 'inlineData') || size >= blockFieldBytes) return false;
    if (this.superblock.features.extendedAttributeInodes) return true;
    const ofAttributes = inode.attributeBlock === 0 ? 0 : this.superblock.clusterSectors * 512;
    return allocated === ofAttributes;
  }
}

abstract class ExtNode {
  readonly attributes: Attributes;
  readonly xattrs?: Xattrs;

  constructor(
    protected readonly nodes: FileNodes,
    protected readonly inode: ExtInode,
    attributes = inode.attributes,
  ) {
    this.attributes = attributes;
    if (!attributes.bare) this.xattrs = (signal) => nodes.attributes.of(inode, signal);
  }
}

class ExtFile extends ExtNode implements RegularFile {
  readonly type = 'file';

  async content(signal: AbortSignal): Promise<FileContent> {
    if (hasFlag(this.inode, 'encrypted'))
      throw new StillError(
        'EACCES',
        `inode ${this.inode.number} is encrypted by its own system, which has the key`,
      );
    return this.nodes.content(this.inode, signal);
  }
}

class ExtSymlink extends ExtNode implements Symlink {
  readonly type = 'symlink';

  target(signal: AbortSignal): Promise<Uint8Array> {
    return this.nodes.target(this.inode, signal);
  }
}

class ExtSpecialFile extends ExtNode implements SpecialFile {
  constructor(
    nodes: FileNodes,
    inode: ExtInode,
    readonly type: SpecialFile['type'],
  ) {
    super(nodes, inode);
  }
}

class ExtFolder extends ExtNode implements Folder {
  readonly type = 'directory';
  #blocks: EntryBlocks | undefined;
  #entries: FolderEntries | undefined;

  async find(name: Name, signal: AbortSignal): Promise<FolderEntry | undefined> {
    return this.#opened().find(name, signal);
  }

  async entries(after: bigint, signal: AbortSignal): Promise<readonly ListedEntry[]> {
    return this.#opened().entries(after, signal);
  }

  async parent(signal: AbortSignal): Promise<Inode> {
    const blocks = this.#blocksOf();
    if (blocks instanceof InlineFolder) return BigInt(blocks.parent);
    const block = await blocks.entries(0, signal);
    // `..` is the second entry, behind twelve bytes of `.`
    if (
      block.readUInt16LE(4) !== 12 ||
      block.readUInt8(18) !== 2 ||
      block.toString('latin1', 20, 22) !== '..'
    )
      throw damaged(this.inode.number, 'the folder does not tell which one it is in');
    return BigInt(block.readUInt32LE(12));
  }

  #blocksOf(): EntryBlocks {
    this.#blocks ??= this.nodes.folderBlocks(this.inode);
    return this.#blocks;
  }

  #opened(): FolderEntries {
    const { superblock, problem } = this.nodes;
    this.#entries ??= new FolderEntries(superblock, this.inode, this.#blocksOf(), problem);
    return this.#entries;
  }
}

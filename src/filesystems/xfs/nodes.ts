import { StillError } from '../../errors.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { FileContent, FileNode, Folder, RegularFile, SpecialFile, Symlink } from '../file-system.js';
import { readAttributes } from './extended-attributes.js';
import { entriesOf, type FolderEntries } from './folder.js';
import type { XfsInode } from './inode.js';
import type { InodeForks } from './inode-forks.js';
import type { Inodes } from './inodes.js';
import type { MetadataBlocks } from './metadata-blocks.js';
import { readTarget } from './symlink.js';

/** What files need to get at what they hold. */
export interface NodeContext {
  readonly metadata: MetadataBlocks;
  readonly inodes: Inodes;
  content(forks: InodeForks): FileContent;
}

/** A file of any type. Of its inode it keeps what stat(2) tells: the rest is read again when it is asked for. */
export function nodeOf(context: NodeContext, { attributes }: XfsInode): FileNode {
  switch (attributes.type) {
    case 'file':
      return new XfsFile(context, attributes);
    case 'directory':
      return new XfsFolder(context, attributes);
    case 'symlink':
      return new XfsSymlink(context, attributes);
    default:
      return new XfsSpecialFile(context, attributes, attributes.type);
  }
}

abstract class XfsNode {
  readonly attributes: Attributes;
  readonly xattrs?: NonNullable<FileNode['xattrs']>;
  protected readonly context: NodeContext;

  constructor(context: NodeContext, attributes: Attributes) {
    this.context = context;
    this.attributes = attributes;
    if (!attributes.bare) this.xattrs = (signal) => this.#readXattrs(signal);
  }

  protected forks(signal: AbortSignal): Promise<InodeForks> {
    return this.context.inodes.forks(this.attributes.inode, signal);
  }

  async #readXattrs(signal: AbortSignal): ReturnType<NonNullable<FileNode['xattrs']>> {
    const { number, attributes } = await this.forks(signal);
    return attributes ? readAttributes(this.context.metadata, number, attributes, signal) : new Map();
  }
}

class XfsFile extends XfsNode implements RegularFile {
  readonly type = 'file';

  async content(signal: AbortSignal): Promise<FileContent> {
    const forks = await this.forks(signal);
    if (!forks.isOnRealtimeDevice) return this.context.content(forks);
    throw new StillError(
      'EIO',
      `the bytes of inode ${forks.number} are on the realtime device, which is not read`,
    );
  }
}

class XfsSymlink extends XfsNode implements Symlink {
  readonly type = 'symlink';

  async target(signal: AbortSignal): Promise<Uint8Array> {
    return readTarget(this.context.metadata, await this.forks(signal), signal);
  }
}

class XfsSpecialFile extends XfsNode implements SpecialFile {
  readonly type: SpecialFile['type'];

  constructor(context: NodeContext, attributes: Attributes, type: SpecialFile['type']) {
    super(context, attributes);
    this.type = type;
  }
}

class XfsFolder extends XfsNode implements Folder {
  readonly type = 'directory';
  #entries: FolderEntries | undefined;

  async find(...asked: Parameters<Folder['find']>): ReturnType<Folder['find']> {
    return (this.#entries ?? (await this.#opened(asked[1]))).find(...asked);
  }

  async entries(...asked: Parameters<Folder['entries']>): ReturnType<Folder['entries']> {
    return (this.#entries ?? (await this.#opened(asked[1]))).entries(...asked);
  }

  async parent(signal: AbortSignal): Promise<Inode> {
    return (this.#entries ?? (await this.#opened(signal))).parent(signal);
  }

  async #opened(signal: AbortSignal): Promise<FolderEntries> {
    this.#entries = entriesOf(this.context.metadata, await this.forks(signal));
    return this.#entries;
  }
}

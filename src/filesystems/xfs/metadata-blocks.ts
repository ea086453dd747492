import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';
import { basicBlock } from './addresses.js';
import { hasChecksum } from './checksum.js';
import type { Superblock } from './superblock.js';

/** What a kind of block tells of itself since version 5: where its fields are (offsets in the block). */
interface Layout {
  readonly checksum: number;
  readonly place: number;
  readonly uuid: number;
  readonly owner: number;
}

// struct xfs_da3_blkinfo, xfs_dir3_blk_hdr, xfs_btree_block_lhdr, xfs_dsymlink_hdr and xfs_attr3_rmt_hdr
const layouts = {
  tree: { checksum: 12, place: 16, uuid: 32, owner: 48 },
  folder: { checksum: 4, place: 8, uuid: 24, owner: 40 },
  mapping: { checksum: 64, place: 24, uuid: 40, owner: 56 },
  value: { checksum: 12, place: 40, uuid: 16, owner: 32 },
} as const satisfies Readonly<Record<string, Layout>>;

/** A kind of metadata block. A magic number of two bytes stands at 8 (`xfs_da_blkinfo`), one of four at 0. */
export interface BlockKind {
  /** What stands for it in errors. */
  readonly name: string;
  readonly layout: Layout;
  /** Its magic numbers in version 4 and 5; the same kind may have several. None in version 4: such blocks have no header there. */
  readonly v4: readonly number[];
  readonly v5: readonly number[];
}

export const blockKinds = {
  folderData: {
    name: 'folder block',
    layout: layouts.folder,
    v4: [0x58443242, 0x58443244],
    v5: [0x58444233, 0x58444433],
  },
  folderTree: {
    name: 'folder index block',
    layout: layouts.tree,
    v4: [0xfebe, 0xd2f1, 0xd2ff],
    v5: [0x3ebe, 0x3df1, 0x3dff],
  },
  attributeTree: {
    name: 'attribute block',
    layout: layouts.tree,
    v4: [0xfebe, 0xfbee],
    v5: [0x3ebe, 0x3bee],
  },
  mapping: { name: 'extent tree block', layout: layouts.mapping, v4: [0x424d4150], v5: [0x424d4133] },
  symlink: { name: 'symlink block', layout: layouts.value, v4: [], v5: [0x58534c4d] },
  value: { name: 'attribute value block', layout: layouts.value, v4: [], v5: [0x5841524d] },
} as const satisfies Readonly<Record<string, BlockKind>>;

/** A range of the disk, bytes. */
export interface Place {
  readonly offset: number;
  readonly length: number;
}

interface Verified {
  readonly kind: BlockKind;
  readonly owner: number;
  readonly bytes: Buffer;
}

const mostRemembered = 1024;

/** What the log had for the file system that its disk does not hold. */
export interface Replayed {
  /** Whether a range has bytes that came from the log: checksums are not those of these bytes then. */
  holds(offset: number, length: number): boolean;
  /** Inodes whose extent trees were another's: their blocks still name that one. */
  readonly exchanged: ReadonlySet<number>;
}

/** Reads blocks of metadata, and checks each once while it is remembered: whether it is what it should be, and whose. */
export class MetadataBlocks {
  readonly superblock: Superblock;
  readonly cache: CachedReads;
  readonly replayed: Replayed | undefined;
  readonly #verified = new LRUCache<number, Verified>({ max: mostRemembered });

  constructor(superblock: Superblock, cache: CachedReads, replayed: Replayed | undefined) {
    this.superblock = superblock;
    this.cache = cache;
    this.replayed = replayed;
  }

  /** A block that is remembered, without a wait. It must not be written to. */
  now(offset: number, kind: BlockKind, owner: number): Buffer | undefined {
    const known = this.#verified.get(offset);
    return known?.kind === kind && known.owner === owner ? known.bytes : undefined;
  }

  /**
   * A block of a kind that belongs to an inode, from the places where its parts lie. It must not be written to. EIO: it is
   * damaged, or is another's.
   */
  async block(
    places: readonly Place[],
    kind: BlockKind,
    owner: number,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const [first] = places;
    if (!first) throw new StillError('EIO', `a ${kind.name} of inode ${owner} lies nowhere`);
    const known = this.now(first.offset, kind, owner);
    if (known) return known;
    const parts: Buffer[] = [];
    for (const { offset, length } of places) parts.push(await this.cache.bytes(offset, length, signal));
    const bytes = parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
    this.#check(bytes, places, first.offset, kind, owner);
    this.#verified.set(first.offset, { kind, owner, bytes });
    return bytes;
  }

  clear(): void {
    this.#verified.clear();
    this.cache.clear();
  }

  #check(bytes: Buffer, places: readonly Place[], offset: number, kind: BlockKind, owner: number): void {
    const { version, metaUuid } = this.superblock;
    const magics: readonly number[] = version === 5 ? kind.v5 : kind.v4;
    const isTree = kind.layout === layouts.tree;
    const magic = isTree ? bytes.readUInt16BE(8) : bytes.readUInt32BE(0);
    const fault = (how: string): StillError =>
      new StillError('EIO', `the ${kind.name} of inode ${owner} at ${offset} is damaged: ${how}`);
    if (magics.length > 0 && !magics.includes(magic))
      throw fault(`its magic number is ${magic.toString(16)}`);
    if (version === 4) return;
    const { layout } = kind;
    if (bytes.readBigUInt64BE(layout.place) * BigInt(basicBlock) !== BigInt(offset))
      throw fault('it was written for another place');
    if (metaUuid.compare(bytes, layout.uuid, layout.uuid + 16) !== 0)
      throw fault('it is of another file system');
    const named = Number(bytes.readBigUInt64BE(layout.owner));
    const mayDiffer = kind === blockKinds.mapping && this.replayed?.exchanged.has(owner);
    if (named !== owner && !mayDiffer) throw fault(`it belongs to inode ${named}`);
    if (places.some((place) => this.replayed?.holds(place.offset, place.length))) return;
    if (!hasChecksum(bytes, layout.checksum)) throw fault('its checksum is wrong');
  }
}

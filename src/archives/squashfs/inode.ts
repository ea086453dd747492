import { StillError } from '../../errors.js';
import type { FileType } from '../../tree/attributes.js';
import { type Metadata, MetadataCursor, type MetadataPlace } from './metadata.js';
import type { TableRange } from './superblock.js';

// fs/squashfs/squashfs_fs.h: struct squashfs_base_inode and what follows it for each type, little-endian
const baseBytes = 16;
const types: readonly FileType[] = ['directory', 'file', 'symlink', 'block', 'character', 'fifo', 'socket'];
/** An extended inode's type is that of a basic one and 7. */
const extended = 7;
/** Bytes after the base, of basic and of extended inodes. */
const sizes: Readonly<Record<FileType, readonly [basic: number, extended: number]>> = {
  directory: [16, 24],
  file: [16, 40],
  symlink: [8, 8],
  block: [8, 12],
  character: [8, 12],
  fifo: [4, 8],
  socket: [4, 8],
};
const none = 0xffff_ffff;
/** What the bytes of a listing are less than the size of its folder: room for `.` and `..`, which are not stored. */
const listingLess = 3;
const longestTarget = 4095;
const rootNumber = 1;
const firstNumber = 2;
const offsets = 8192;

/** Where a listing is: `block` as bytes from the start of the directory table. */
export interface ListingPlace {
  readonly block: number;
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** What all inodes begin with. */
export interface InodeHead {
  /** The low twelve bits of the mode. */
  readonly permissions: number;
  /** Places in the table of ids. */
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, to 2106. */
  readonly modified: number;
  /** The image's own number of the inode. */
  readonly number: number;
}

interface Common {
  readonly head: InodeHead;
  readonly links: number;
  readonly xattrs: number | undefined;
}

export interface DirectoryInode extends Common {
  readonly type: 'directory';
  readonly size: number;
  readonly listing: ListingPlace;
  /** The number of the folder above. */
  readonly parent: number;
  /** How many entries the index of the listing has, and where it is. */
  readonly indexes: number;
  readonly index: MetadataPlace;
}

export interface FileInode extends Common {
  readonly type: 'file';
  readonly size: number;
  /** Bytes that were holes in the file. */
  readonly sparse: number;
  /** Where the first data block is in the image. */
  readonly start: number;
  /** Where the tail is that fills no block: which fragment, and at what offset in what it holds. */
  readonly fragment: { readonly index: number; readonly offset: number } | undefined;
  /** Where the sizes of the data blocks are listed. */
  readonly blocks: MetadataPlace;
}

export interface SymlinkInode extends Common {
  readonly type: 'symlink';
  readonly size: number;
  readonly target: MetadataPlace;
}

export interface DeviceInode extends Common {
  readonly type: 'block' | 'character';
  readonly device: { readonly major: number; readonly minor: number };
}

export interface OtherInode extends Common {
  readonly type: 'fifo' | 'socket';
}

export type SquashfsInode = DirectoryInode | FileInode | SymlinkInode | DeviceInode | OtherInode;

/** A place in the table of inodes: `block` is bytes from its start. */
export type InodePlace = MetadataPlace;

/** Finds inodes by their numbers in the tree: those say where the inode is, so that no table of them is needed; 1 is the root. */
export class Inodes {
  readonly #metadata: Metadata;
  readonly #table: TableRange;
  readonly #root: InodePlace;

  constructor(metadata: Metadata, table: TableRange, root: InodePlace) {
    this.#metadata = metadata;
    this.#table = table;
    this.#root = root;
  }

  /** Below 2^43, since the table has less than 2^30 bytes. Undefined for a place that is not in it. */
  numberOf({ block, offset }: InodePlace): number | undefined {
    if (block === this.#root.block && offset === this.#root.offset) return rootNumber;
    if (block >= this.#table.end - this.#table.start || offset >= offsets) return undefined;
    return firstNumber + block * offsets + offset;
  }

  /** ESTALE: no inode can have the number. EIO: it is damaged. */
  read(number: number, signal: AbortSignal): Promise<SquashfsInode> {
    const { block, offset } = this.#placeOf(number);
    const place = { block: this.#table.start + block, offset };
    return readInode(new MetadataCursor(this.#metadata, this.#table, place), signal);
  }

  cursor(place: MetadataPlace): MetadataCursor {
    return new MetadataCursor(this.#metadata, this.#table, place);
  }

  #placeOf(number: number): InodePlace {
    if (number === rootNumber) return this.#root;
    const at = number - firstNumber;
    const offset = at % offsets;
    const block = (at - offset) / offsets;
    if (at >= 0 && block < this.#table.end - this.#table.start) return { block, offset };
    throw new StillError('ESTALE', `the squashfs image has no inode ${number}`);
  }
}

async function readInode(cursor: MetadataCursor, signal: AbortSignal): Promise<SquashfsInode> {
  const base = cursor.now(baseBytes) ?? (await cursor.take(baseBytes, signal));
  const stored = base.readUInt16LE(0);
  const isExtended = stored > extended;
  const type = types[(isExtended ? stored - extended : stored) - 1];
  if (type === undefined) throw damaged(`an inode of the unknown type ${stored}`);
  const length = sizes[type][isExtended ? 1 : 0];
  const body = cursor.now(length) ?? (await cursor.take(length, signal));
  const head: InodeHead = {
    permissions: base.readUInt16LE(2) & 0o7777,
    uid: base.readUInt16LE(4),
    gid: base.readUInt16LE(6),
    modified: base.readUInt32LE(8),
    number: base.readUInt32LE(12),
  };
  const xattrsAt = (at: number): number | undefined => {
    const index = isExtended ? body.readUInt32LE(at) : none;
    return index === none ? undefined : index;
  };
  switch (type) {
    case 'directory': {
      const size = isExtended ? body.readUInt32LE(4) : body.readUInt16LE(8);
      return {
        head,
        type,
        links: body.readUInt32LE(isExtended ? 0 : 4),
        size,
        listing: {
          block: body.readUInt32LE(isExtended ? 8 : 0),
          offset: body.readUInt16LE(isExtended ? 18 : 10),
          length: Math.max(size - listingLess, 0),
        },
        parent: body.readUInt32LE(12),
        indexes: isExtended ? body.readUInt16LE(16) : 0,
        index: cursor.place,
        xattrs: xattrsAt(20),
      };
    }
    case 'file': {
      const fragment = body.readUInt32LE(isExtended ? 28 : 4);
      const offset = body.readUInt32LE(isExtended ? 32 : 8);
      return {
        head,
        type,
        links: isExtended ? body.readUInt32LE(24) : 1,
        size: isExtended ? wholeNumber(body, 8, 'a file of') : body.readUInt32LE(12),
        sparse: isExtended ? wholeNumber(body, 16, 'a file with holes of') : 0,
        start: isExtended ? wholeNumber(body, 0, 'a file that begins at') : body.readUInt32LE(0),
        fragment: fragment === none ? undefined : { index: fragment, offset },
        blocks: cursor.place,
        xattrs: xattrsAt(36),
      };
    }
    case 'symlink': {
      const size = body.readUInt32LE(4);
      if (size === 0 || size > longestTarget) throw damaged(`a symlink of ${size} bytes`);
      const target = cursor.place;
      const links = body.readUInt32LE(0);
      if (!isExtended) return { head, type, links, size, target, xattrs: undefined };
      // The number of its attributes stands after the target.
      await cursor.pass(size, signal);
      const index = (cursor.now(4) ?? (await cursor.take(4, signal))).readUInt32LE(0);
      return { head, type, links, size, target, xattrs: index === none ? undefined : index };
    }
    case 'block':
    case 'character':
      return {
        head,
        type,
        links: body.readUInt32LE(0),
        device: deviceOf(body.readUInt32LE(4)),
        xattrs: xattrsAt(8),
      };
    default:
      return { head, type, links: body.readUInt32LE(0), xattrs: xattrsAt(4) };
  }
}

/** new_decode_dev of linux/kdev_t.h. */
function deviceOf(number: number): DeviceInode['device'] {
  return { major: (number >>> 8) & 0xfff, minor: (number & 0xff) | ((number >>> 12) & 0xfff00) };
}

function wholeNumber(bytes: Buffer, at: number, what: string): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`${what} ${value} bytes`);
  return Number(value);
}

function damaged(what: string): StillError {
  return new StillError('EIO', `the table of inodes of the squashfs image is damaged: ${what}`);
}

import { messageOf } from '../../errors.js';
import { type Name, nameFromBytes } from '../../name.js';
import { crc32c } from '../crc32c.js';
import { posixAclOf } from './access-control-list.js';
import type { Blocks } from './blocks.js';
import { damaged, type ExtInode, hasFlag } from './inode.js';
import type { Inodes } from './inodes.js';
import type { Superblock } from './superblock.js';

// linux fs/ext4/xattr.h: struct ext4_xattr_entry; struct ext4_xattr_header of a block
const entryBytes = 16;
const blockMagic = 0xea02_0000;
const blockHeaderBytes = 32;
const blockChecksumAt = 16;
/** EXT4_XATTR_INDEX_*; those that Linux does not list are left out. */
const prefixes: ReadonlyMap<number, string> = new Map([
  [1, 'user.'],
  [2, 'system.posix_acl_access'],
  [3, 'system.posix_acl_default'],
  [4, 'trusted.'],
  [6, 'security.'],
  [10, 'gnu.'],
]);
const accessListIndexes = new Set([2, 3]);
const systemIndex = 7;
/** What inline data that has no room in i_block is stored as. */
const inlineDataName = 'data';
/** linux/limits.h, XATTR_SIZE_MAX: more can't be asked for. */
const longestValue = 65536;
/** Of all values of a file together. */
const mostValueBytes = 32 << 20;

interface StoredAttribute {
  readonly index: number;
  readonly name: Buffer;
  /** Undefined where it is in an inode of its own. */
  readonly value: Buffer | undefined;
  readonly valueInode: number;
  readonly valueBytes: number;
}

/** Reads the whole of a value that has an inode of its own. */
export type ReadValue = (inode: ExtInode, signal: AbortSignal) => Promise<Buffer>;

/** The extended attributes of files. */
export class ExtendedAttributes {
  readonly #superblock: Superblock;
  readonly #blocks: Blocks;
  readonly #inodes: Inodes;
  readonly #readValue: ReadValue;

  constructor(superblock: Superblock, blocks: Blocks, inodes: Inodes, readValue: ReadValue) {
    this.#superblock = superblock;
    this.#blocks = blocks;
    this.#inodes = inodes;
    this.#readValue = readValue;
  }

  /** All that Linux lists, by their names. EIO: they are damaged. */
  async of(inode: ExtInode, signal: AbortSignal): Promise<Map<Name, Uint8Array>> {
    const stored = [...(await this.#inInode(inode, signal)), ...(await this.#inBlock(inode, signal))];
    const found = new Map<Name, Uint8Array>();
    let left = mostValueBytes;
    for (const each of stored) {
      const prefix = prefixes.get(each.index);
      if (prefix === undefined) continue;
      const isList = accessListIndexes.has(each.index);
      const name = `${prefix}${isList ? '' : nameFromBytes(each.name)}` as Name;
      if (found.has(name)) continue;
      left -= each.valueBytes;
      if (left < 0)
        throw damaged(inode.number, `its extended attributes have more than ${mostValueBytes} bytes`);
      const value = each.value ?? (await this.#valueInInode(inode, each, signal));
      found.set(name, isList ? accessList(inode, value) : Buffer.from(value));
    }
    return found;
  }

  /** What of inline data has no room in i_block, if there is any. EIO: the attributes of the inode are damaged. */
  async inlineData(inode: ExtInode, signal: AbortSignal): Promise<Buffer> {
    const attributes = await this.#inInode(inode, signal);
    const data = attributes.find(
      ({ index, name }) => index === systemIndex && name.toString('latin1') === inlineDataName,
    );
    return data?.value ? Buffer.from(data.value) : Buffer.alloc(0);
  }

  async #inInode(inode: ExtInode, signal: AbortSignal): Promise<StoredAttribute[]> {
    if (inode.attributesAt === 0) return [];
    const bytes = await this.#inodes.bytes(inode.number, signal);
    const area = bytes.subarray(inode.attributesAt);
    return parseEntries(inode, area, 0, area);
  }

  async #inBlock(inode: ExtInode, signal: AbortSignal): Promise<StoredAttribute[]> {
    const { attributeBlock, number } = inode;
    if (attributeBlock === 0) return [];
    const wrong = (how: string): Error => damaged(number, `block ${attributeBlock} of its attributes ${how}`);
    if (!this.#blocks.hold(attributeBlock, 1)) throw wrong('is none of the disk');
    const bytes = await this.#blocks.read(attributeBlock, signal);
    if (bytes.readUInt32LE(0) !== blockMagic) throw wrong('has another magic number');
    if (!this.#isIntact(bytes, attributeBlock)) throw wrong('has a wrong checksum');
    return parseEntries(inode, bytes, blockHeaderBytes, bytes);
  }

  #isIntact(bytes: Buffer, block: number): boolean {
    const { checksumSeed } = this.#superblock;
    if (checksumSeed === undefined) return true;
    const number = Buffer.alloc(8);
    number.writeBigUInt64LE(BigInt(block));
    let checksum = crc32c(crc32c(checksumSeed, number), bytes, 0, blockChecksumAt);
    checksum = crc32c(crc32c(checksum, Buffer.alloc(4)), bytes, blockChecksumAt + 4);
    return checksum === bytes.readUInt32LE(blockChecksumAt);
  }

  async #valueInInode(owner: ExtInode, stored: StoredAttribute, signal: AbortSignal): Promise<Buffer> {
    const { valueInode, valueBytes } = stored;
    const inode = await this.#inodes.read(valueInode, signal);
    const { type, size } = inode.attributes;
    if (type !== 'file' || !hasFlag(inode, 'attributeValue') || size !== valueBytes)
      throw damaged(owner.number, `inode ${valueInode} holds no attribute of ${valueBytes} bytes`);
    const value = await this.#readValue(inode, signal);
    // i_atime is the checksum; those that Lustre made have none, and the file's number in i_mtime.
    const bytes = await this.#inodes.bytes(valueInode, signal);
    const intact = crc32c(this.#superblock.valueSeed, value) === bytes.readUInt32LE(0x08);
    if (!intact && bytes.readUInt32LE(0x10) !== owner.number)
      throw damaged(owner.number, `the checksum of an attribute in inode ${valueInode} is wrong`);
    return value;
  }
}

function accessList(inode: ExtInode, value: Buffer): Uint8Array {
  try {
    return posixAclOf(value);
  } catch (error) {
    throw damaged(inode.number, messageOf(error));
  }
}

/** Reads entries from `start` on; values lie at offsets in `values`. */
function parseEntries(inode: ExtInode, bytes: Buffer, start: number, values: Buffer): StoredAttribute[] {
  const wrong = (how: string): Error => damaged(inode.number, `its extended attributes ${how}`);
  const found: StoredAttribute[] = [];
  for (let at = start; ; ) {
    // Four bytes of zeros are the end.
    if (at + 4 > bytes.length) throw wrong('have no end');
    if (bytes.readUInt32LE(at) === 0) return found;
    const nameEnd = at + entryBytes + bytes.readUInt8(at);
    if (nameEnd > bytes.length) throw wrong(`end within a name at byte ${at}`);
    const valueInode = bytes.readUInt32LE(at + 4);
    const valueBytes = bytes.readUInt32LE(at + 8);
    const valueAt = bytes.readUInt16LE(at + 2);
    if (valueBytes > longestValue || (valueInode === 0 && valueAt + valueBytes > values.length))
      throw wrong(`have a value of ${valueBytes} bytes at ${valueAt}`);
    found.push({
      index: bytes.readUInt8(at + 1),
      name: bytes.subarray(at + entryBytes, nameEnd),
      value: valueInode === 0 ? values.subarray(valueAt, valueAt + valueBytes) : undefined,
      valueInode,
      valueBytes,
    });
    at = Math.ceil(nameEnd / 4) * 4;
  }
}

import { type Name, nameWithin } from '../../name.js';
import type { FileType } from '../../tree/attributes.js';
import { damaged } from './inode.js';

// linux fs/ext4/ext4.h: struct ext4_dir_entry_2; EXT4_FT_*
const headBytes = 8;
const smallest = 12;
const types: readonly (FileType | undefined)[] = [
  undefined,
  'file',
  'directory',
  'character',
  'block',
  'fifo',
  'socket',
  'symlink',
];
/** A length of 64 KiB has no room in its field: with blocks of that size the lowest two bits are the highest. */
const wholeBlock = 65536;

/** Goes through the entries of a block of a folder, or of what stands for one. Free ones are passed over. */
export class DirectoryEntries {
  inode = 0;
  /** Where the name is. */
  from = 0;
  to = 0;
  /** Where the next entry begins. */
  next = 0;
  #type = 0;
  readonly #folder: number;
  readonly #start: number;

  /** `folder`: its inode. `start`: entries before it are passed over. */
  constructor(
    folder: number,
    readonly bytes: Buffer,
    start = 0,
  ) {
    this.#folder = folder;
    this.#start = start;
  }

  /** Whether there is one more. EIO: it is damaged, and those after it can't be found. */
  advance(): boolean {
    while (this.next < this.bytes.length) {
      const at = this.next;
      this.#enter(at);
      if (this.inode !== 0 && at >= this.#start && !this.#isDots()) return true;
    }
    return false;
  }

  get name(): Name {
    return nameWithin(this.bytes, this.from, this.to);
  }

  /** Undefined where the folder does not tell. */
  get type(): FileType | undefined {
    return types[this.#type & 0x7];
  }

  is(name: Buffer): boolean {
    const { bytes, from, to } = this;
    if (to - from !== name.length) return false;
    // From the end: names in a folder mostly begin alike.
    for (let at = name.length - 1; at >= 0; at--) if (bytes[from + at] !== name[at]) return false;
    return true;
  }

  #enter(at: number): void {
    const { bytes } = this;
    const left = bytes.length - at;
    if (left < headBytes) throw this.#damaged(at, `${left} bytes`);
    const length = lengthOf(bytes.readUInt16LE(at + 4), bytes.length);
    const nameBytes = bytes.readUInt8(at + 6);
    if (length < smallest || length % 4 !== 0 || length > left || headBytes + nameBytes > length)
      throw this.#damaged(at, `${length} bytes with a name of ${nameBytes}`);
    this.inode = bytes.readUInt32LE(at);
    this.#type = bytes.readUInt8(at + 7);
    this.from = at + headBytes;
    this.to = this.from + nameBytes;
    this.next = at + length;
  }

  #isDots(): boolean {
    const { bytes, from, to } = this;
    return (
      to - from <= 2 &&
      bytes[from] === 0x2e &&
      (to - from === 1 || (to - from === 2 && bytes[from + 1] === 0x2e))
    );
  }

  #damaged(at: number, how: string): Error {
    return damaged(this.#folder, `an entry of the folder, at byte ${at} of its block, has ${how}`);
  }
}

/** The length of an entry, as the field in a block of that size has it. */
export function lengthOf(stored: number, blockBytes: number): number {
  if (blockBytes < wholeBlock) return stored;
  return stored === 65535 || stored === 0 ? blockBytes : (stored & 65532) | ((stored & 3) << 16);
}

import { StillError } from '../../errors.js';
import { BlockList } from './block-list.js';
import { type DataBlocks, isHole, type StoredBlock } from './data-blocks.js';
import type { IndexedTable } from './indexed-table.js';
import type { FileInode, Inodes } from './inode.js';

/** So many blocks of one read are unpacked at a time. */
const atOnce = 4;

interface OpenFile {
  readonly inode: number;
  readonly file: FileInode;
  readonly blocks: BlockList;
  handles: number;
}

/** The files that are open, by their handles; a file that is open twice is held once. */
export class OpenFiles {
  readonly #byHandle = new Map<number, OpenFile>();
  readonly #byInode = new Map<number, OpenFile>();
  #lastHandle = 0;

  constructor(
    private readonly blockSize: number,
    private readonly inodes: Inodes,
    private readonly data: DataBlocks,
    /** Without it, there are no fragments. */
    private readonly fragments: IndexedTable | undefined,
  ) {}

  open(inode: number, file: FileInode): number {
    let open = this.#byInode.get(inode);
    if (!open) {
      const blocks = new BlockList(file, this.blockSize, (place) => this.inodes.cursor(place));
      open = { inode, file, blocks, handles: 0 };
      this.#byInode.set(inode, open);
    }
    open.handles++;
    this.#byHandle.set(++this.#lastHandle, open);
    return this.#lastHandle;
  }

  /** Reads up to the end of `target` or of the file. EIO: the image is damaged there. */
  async read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    const open = this.#file(handle);
    signal.throwIfAborted();
    const length = Math.min(target.length, open.file.size - offset);
    if (length <= 0) return 0;
    const first = Math.floor(offset / this.blockSize);
    const last = Math.floor((offset + length - 1) / this.blockSize);
    let next = first;
    const work = async (): Promise<void> => {
      while (next <= last) {
        const number = next++;
        const from = Math.max(number * this.blockSize, offset);
        const to = Math.min((number + 1) * this.blockSize, offset + length);
        const part = target.subarray(from - offset, to - offset);
        await this.#readBlock(open, number, from - number * this.blockSize, part, signal);
      }
    };
    if (first === last) await work();
    else await Promise.all(Array.from({ length: Math.min(atOnce, last - first + 1) }, work));
    return length;
  }

  /** Holes are told of where the file had some, block by block; a file of zeros that were written has none. */
  async seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    const { file, blocks } = this.#file(handle);
    if (offset < 0 || offset >= file.size)
      throw new StillError('ENXIO', `the file has ${file.size} bytes: nothing lies at ${offset}`);
    if (file.sparse === 0) return wanted === 'data' ? offset : file.size;
    const from = Math.floor(offset / this.blockSize);
    if (from >= blocks.count) return wanted === 'data' ? offset : file.size;
    const number = await blocks.next(from, wanted === 'hole', signal);
    const found = Math.max(number * this.blockSize, offset);
    if (number < blocks.count) return found;
    if (wanted === 'hole') return file.size;
    if (found < file.size) return found;
    throw new StillError('ENXIO', `the file has no data at or after ${offset}`);
  }

  release(handle: number): void {
    const open = this.#file(handle);
    this.#byHandle.delete(handle);
    if (--open.handles === 0) this.#byInode.delete(open.inode);
  }

  clear(): void {
    this.#byHandle.clear();
    this.#byInode.clear();
  }

  async #readBlock(
    { file, blocks }: OpenFile,
    number: number,
    offset: number,
    target: Uint8Array,
    signal: AbortSignal,
  ): Promise<void> {
    if (number < blocks.count) {
      await this.data.read(await blocks.block(number, signal), offset, target, signal);
    } else {
      const { block, at } = await this.#fragment(file, signal);
      await this.data.read(block, at + offset, target, signal);
    }
  }

  // struct squashfs_fragment_entry: u64 place, u32 size
  async #fragment(file: FileInode, signal: AbortSignal): Promise<{ block: StoredBlock; at: number }> {
    if (!file.fragment || !this.fragments)
      throw new StillError('EIO', 'a file of the squashfs image ends in a fragment, and the image has none');
    const record = await this.fragments.record(file.fragment.index, signal);
    const place = Number(record.readBigUInt64LE(0));
    const stored = record.readUInt32LE(8);
    if (isHole(stored))
      throw new StillError('EIO', `the squashfs image's fragment ${file.fragment.index} is empty`);
    return { block: { place, stored, length: this.blockSize, exact: false }, at: file.fragment.offset };
  }

  #file(handle: number): OpenFile {
    const open = this.#byHandle.get(handle);
    if (open) return open;
    throw new StillError('EBADF', `handle ${handle} of a squashfs image is not open`);
  }
}

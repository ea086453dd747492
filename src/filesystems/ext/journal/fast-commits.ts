import { crc32c } from '../../crc32c.js';

// linux fs/ext4/fast_commit.h: struct ext4_fc_tl, then its value, little-endian
const tagBytes = 4;
const head = 9;
const tail = 8;
const tidInHead = 4;
const headBytes = 8;
const tailBytes = 8;

/** Goes through fast commits, block by block, to tell whether there is one that is whole. */
export class FastCommitScan {
  readonly #transaction: number;
  #checksum = 0;
  #begun = false;

  /** `transaction`: the one after which they were made. */
  constructor(transaction: number) {
    this.#transaction = transaction;
  }

  /** Looks at the next block: whether a commit is whole with it (`whole`), may go on (`more`), or can't be one (`none`). */
  look(block: Buffer): 'whole' | 'more' | 'none' {
    for (let at = 0; at + tagBytes <= block.length; ) {
      const tag = block.readUInt16LE(at);
      const length = block.readUInt16LE(at + 2);
      const value = at + tagBytes;
      if (tag === 0 || tag > head || value + length > block.length) return 'none';
      if (!this.#begun) {
        const begins = tag === head && length === headBytes;
        if (!begins || block.readUInt32LE(value + tidInHead) !== this.#transaction) return 'none';
        this.#begun = true;
      }
      if (tag === tail) {
        if (length < tailBytes || block.readUInt32LE(value) !== this.#transaction) return 'none';
        const checksum = crc32c(this.#checksum, block, at, value + 4);
        return checksum === block.readUInt32LE(value + 4) ? 'whole' : 'none';
      }
      this.#checksum = crc32c(this.#checksum, block, at, value + length);
      at = value + length;
    }
    return this.#begun ? 'more' : 'none';
  }
}

import { devicePath, type Machine } from './machine.js';

const mostBytesAtOnce = 1024 * 1024;

/** Bytes that a guest can make as well (with `yes`): the mark and a newline, over and over. */
export function marked(mark: string, length: number): Buffer {
  return Buffer.alloc(length, `${mark}\n`);
}

/**
 * Has the guest write `marked` bytes to a disk itself, past its page cache, and returns when they are written. Offset
 * and length are in bytes, multiples of 512. So no byte but those becomes dirty.
 */
export async function writeMarked(
  machine: Machine,
  disk: string,
  offset: number,
  length: number,
  mark: string,
): Promise<void> {
  if (offset % 512 !== 0 || length % 512 !== 0) throw new Error('direct writes go to whole sectors');
  let block = mostBytesAtOnce;
  while (length % block !== 0) block /= 2;
  await machine.output(
    `yes '${mark}' | head -c ${length} | dd of=${devicePath(disk)} bs=${block} iflag=fullblock ` +
      `oflag=direct,seek_bytes seek=${offset} conv=notrunc,fsync status=none`,
  );
}

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { StillError } from '../../errors.js';
import { blockBytes, digestOf, lengthOfBlock } from './sums-format.js';
import { SumsWriter } from './sums-writer.js';

/** Sums a file that nobody writes any more: `<path>.sums` comes to be beside it, durably. Not for disks: those are summed as guests see them. */
export async function sumFile(path: string, signal?: AbortSignal): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const sums = await SumsWriter.create(`${path}.sums`, size);
    let finished = false;
    try {
      const block = Buffer.alloc(blockBytes);
      for (let at = 0, index = 0; at < size; at += blockBytes, index++) {
        signal?.throwIfAborted();
        const bytes = block.subarray(0, lengthOfBlock(index, size));
        for (let done = 0; done < bytes.length; ) {
          const { bytesRead } = await file.read(bytes, done, bytes.length - done, at + done);
          if (bytesRead === 0) throw new StillError('EIO', `${path} was cut short while it was summed`);
          done += bytesRead;
        }
        await sums.set(index, await digestOf(bytes));
      }
      finished = true;
      await sums.finish(signal);
    } finally {
      if (!finished) await sums.close();
    }
  } finally {
    await file.close();
  }
}

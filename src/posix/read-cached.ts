import koffi from 'koffi';

// preadv2(2) with RWF_NOWAIT reads what is in the page cache and never waits for a disk or a server.
koffi.struct('stillfs_iovec', { base: 'void *', length: 'size_t' });
const preadv2 = koffi
  .load(null)
  .func(
    'intptr_t preadv2(int descriptor, const stillfs_iovec *vectors, int count, int64_t offset, int flags)',
  );
const RWF_NOWAIT = 0x8;

/**
 * Reads as much of a range as the page cache holds, in this thread and without any wait, and says how many bytes that
 * was: 0 where nothing is cached, where the file system can't tell, at the end, or at an error (ask again in earnest).
 */
export function readCached(descriptor: number, offset: number, target: Uint8Array): number {
  const read = Number(
    preadv2(descriptor, [{ base: target, length: target.byteLength }], 1, offset, RWF_NOWAIT),
  );
  return Math.max(read, 0);
}

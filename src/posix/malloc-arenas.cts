import koffi = require('koffi');

/** malloc.h of glibc. */
const M_ARENA_MAX = -8;
const mostArenas = 2;

/**
 * Has threads share their heaps; to be called before there are many threads. glibc gives each of the pool's threads one of its own, up to
 * eight for each processor, and what is freed in one is of no use to the others: memory would grow with the number of
 * threads that were ever busy. A libc without arenas (musl's) needs nothing.
 */
function shareMallocArenas(): void {
  let mallopt: (option: number, value: number) => unknown;
  try {
    mallopt = koffi.load(null).func('int mallopt(int option, int value)');
  } catch {
    return;
  }
  mallopt(M_ARENA_MAX, mostArenas);
}

export = { shareMallocArenas };

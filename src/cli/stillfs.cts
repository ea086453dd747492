#!/usr/bin/env node
// CommonJS on purpose: Node's loader of ES modules starts the thread pool, whose size is read once, at its start, and whose
// threads get their heaps then. Each read of /dev/fuse and each file call on a store holds one thread of it while it waits.
import mallocArenas = require('../posix/malloc-arenas.cjs');

process.env.UV_THREADPOOL_SIZE ??= '128';
mallocArenas.shareMallocArenas();

import('./main.js').then(
  ({ main }) => main(process.argv.slice(2)),
  (error: unknown) => {
    process.stderr.write(`stillfs can't start: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  },
);

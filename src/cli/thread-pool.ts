import { ConfigError } from '../config/file.js';
import type { StoreSettings } from '../config/settings.js';

/** Threads that stay free of stores: for /dev/fuse, the configuration, name services. */
const reserved = 8;
/** What one store may have under way if there is room: more gains nothing on a local disk. */
const usual = 8;
const nodesDefault = 4;
const libuvsMaximum = 1024;

/** How many threads Node's pool has, by libuv's own reading of UV_THREADPOOL_SIZE: at least 1, at most 1024. */
export function threadPoolSize(variable: string | undefined = process.env.UV_THREADPOOL_SIZE): number {
  if (variable === undefined) return nodesDefault;
  const size = Number.parseInt(variable, 10);
  return Number.isNaN(size) || size < 1 ? 1 : Math.min(size, libuvsMaximum);
}

/**
 * How many file calls each store may have under way, so that all of them stuck at once still leave threads for the
 * rest. Throws a ConfigError where there are too many stores for the pool.
 */
export function queueDepths(stores: readonly StoreSettings[], poolSize = threadPoolSize()): number[] {
  const room = poolSize - reserved;
  const asked = stores.reduce((sum, store) => sum + (store.depth ?? 0), 0);
  const others = stores.filter((store) => store.depth === undefined).length;
  if (asked + others > room) {
    throw new ConfigError([
      `${stores.length} stores need ${asked + others + reserved} threads and the pool has ${poolSize}: ` +
        `start with UV_THREADPOOL_SIZE=${Math.min(libuvsMaximum, asked + others * usual + reserved)} in the environment, or give fewer stores`,
    ]);
  }
  const share = others === 0 ? usual : Math.floor((room - asked) / others);
  return stores.map((store) => store.depth ?? Math.max(1, Math.min(usual, share)));
}

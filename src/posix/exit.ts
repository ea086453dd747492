import { systemCall } from './call.js';

const exit = systemCall('int _exit(int status)');

/**
 * Ends the process at once. `process.exit` first waits for every thread of Node's pool, and one that waits for a store
 * that never answers would keep the process for ever.
 */
export function exitNow(status: number): never {
  exit.now('this process', status);
  throw new Error('_exit(2) came back');
}

/**
 * Serves guests in memory until the mount has ended: `serve-guests.js TRANSPORT MOUNTPOINT`. 100 is as any; 101 never
 * answers what it is asked; of 102 no snapshot is ever finished, and the parent is told `taking`. It is told `mounted`,
 * and may say `end`: then every snapshot ends by itself, and the parent is told `ended`.
 */
import { mountOverFuseNative } from '../../../mount/fuse-native/mount.js';
import { mountOverKernel } from '../../../mount/kernel/mount.js';
import { openLayout } from '../../../src/layout/layout.js';
import { openLog } from '../../../src/log.js';
import { MemoryGuest } from './memory-guest.js';

const [transport = '', mountpoint = ''] = process.argv.slice(2);
const mount = transport === 'kernel' ? mountOverKernel : mountOverFuseNative;
const log = openLog('error');

const untilAborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
const guests = ['100', '101', '102'].map((id) => new MemoryGuest(id));
for (const guest of guests) {
  if (guest.id === '101') guest.answering = untilAborted;
  if (guest.id === '102') {
    guest.taking = (signal) => {
      process.send?.('taking');
      return untilAborted(signal);
    };
  }
}

const tree = openLayout({ stores: [], guests, log });
const mounted = await mount(tree, {
  mountpoint,
  source: 'guests',
  allowOther: false,
  readOnly: false,
  log,
  // Milliseconds that fuse-native waits for an answer, which 101 never gives.
  ...(transport === 'fuse-native' && { limits: { usual: 2000, changing: 5000 } }),
});
process.on('message', () => {
  void Promise.all(guests.map((guest) => guest.close())).then(() => process.send?.('ended'));
});
process.once('disconnect', () => void mounted.unmount({ force: true }));
process.send?.('mounted');
await mounted.ended;
await tree.close();
process.removeAllListeners('disconnect');
process.disconnect?.();

/** Serves one of the test's trees over fuse-native, and answers its parent over the channel of `fork`. */
import { mountOverFuseNative } from '../../../mount/fuse-native/mount.js';
import { codeOf, messageOf } from '../../../src/errors.js';
import { openLog } from '../../../src/log.js';
import { ForgettingTree, trees } from './trees.js';

const [mountpoint = '', name = '', options = '{}'] = process.argv.slice(2);
const tree = trees[name]?.();
if (!tree) throw new RangeError(`there is no tree ${name}`);

const say = (message: object): void => {
  process.send?.(message);
};

try {
  const mounted = await mountOverFuseNative(tree, {
    mountpoint,
    source: 'test, with a comma',
    allowOther: false,
    readOnly: false,
    log: openLog('info'),
    ...(JSON.parse(options) as object),
  });
  say({ event: 'mounted', lacks: mounted.lacks });
  process.on('message', (message: { command: string; id: number }) => {
    const answer = (value: unknown): void => say({ id: message.id, value });
    switch (message.command) {
      case 'counts':
        answer({ ...mounted.counts(), forgotten: tree instanceof ForgettingTree ? tree.forgotten : 0 });
        break;
      case 'unmount':
      case 'unmount by force':
        mounted.unmount({ force: message.command !== 'unmount' }).then(
          () => answer('ok'),
          (error: unknown) => answer(codeOf(error)),
        );
        break;
    }
  });
  await mounted.ended;
  say({ event: 'ended', counts: mounted.counts() });
} catch (error) {
  say({ event: 'failed', code: codeOf(error), message: messageOf(error) });
} finally {
  // Nothing else may keep the process: it ends by itself once the mount has.
  process.disconnect?.();
}

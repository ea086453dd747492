/**
 * Serves a tree of ./trees, or all of them in one mount, until the mount has ended:
 *   serve.js TRANSPORT HOSTING TREE MOUNTPOINT [OPTIONS]
 * Its parent (`fork`) is told when the mount answers and when it has ended, and may send commands meanwhile. Without a
 * parent there is nobody to serve: it takes its mount away and ends.
 */
import { readdir } from 'node:fs/promises';
import { mountOverFuseNative } from '../../mount/fuse-native/mount.js';
import { mountOverKernel } from '../../mount/kernel/mount.js';
import { codeOf, messageOf } from '../../src/errors.js';
import { openLog } from '../../src/log.js';
import { WaitingWorker } from '../../src/port/waiting-worker.js';
import { hostTree } from '../../src/tree/port/host-tree.js';
import type { Tree } from '../../src/tree/tree.js';
import { CommandSender, perform } from './commands.js';
import type { Asked, Options, Said } from './mounted-trees.js';
import { Grafted, isTreeName, type TreeName, trees } from './trees/all.js';
import type { Plain } from './trees/tree-under-test.js';

/** A tree, wherever it lives, and the way to tell it something. */
interface Lively {
  readonly tree: Tree;
  readonly send: (command: string, argument: Plain) => Promise<Plain>;
  readonly close: () => Promise<void>;
}

async function here(name: TreeName): Promise<Lively> {
  const { tree, commands = {} } = trees[name]();
  return {
    tree,
    send: (command, argument) => perform(commands, command, argument),
    close: () => tree.close(),
  };
}

async function inWorker(name: TreeName): Promise<Lively> {
  const sender = new CommandSender(name);
  const entry = new URL('./hosted-entry.js', import.meta.url);
  const worker = new WaitingWorker(entry, 96).take();
  const tree = await hostTree({ name: `tree ${name}`, worker, data: name, silence: 2 });
  return {
    tree,
    send: (command, argument) => sender.send(command, argument),
    close: async () => {
      sender.close();
      await tree.close();
    },
  };
}

const [transport = '', hosting = '', name = '', mountpoint = '', json = '{}'] = process.argv.slice(2);
// Our own writing: JSON of `Options`.
const { allowOther = true, readOnly = false, limit } = JSON.parse(json) as Options;
const mount = transport === 'kernel' ? mountOverKernel : mountOverFuseNative;
const make = hosting === 'process' ? here : inWorker;
const opened = new Map<TreeName, Promise<Lively>>();
const open = (wanted: TreeName): Promise<Lively> => {
  const known = opened.get(wanted) ?? make(wanted);
  opened.set(wanted, known);
  return known;
};
const say = (message: Said): void => {
  process.send?.(message);
};

try {
  const tree = isTreeName(name)
    ? (await open(name)).tree
    : new Grafted(async (wanted) => (await open(wanted)).tree);
  const mounted = await mount(tree, {
    mountpoint,
    source: 'conformance',
    allowOther,
    readOnly,
    log: openLog('info'),
    ...(limit !== undefined && { limits: { usual: limit, changing: limit } }),
  });

  const ofTheMount: Readonly<Record<string, () => Plain | Promise<Plain>>> = {
    counts: () => ({ ...mounted.counts() }),
    descriptors: async () => (await readdir('/proc/self/fd')).length,
    unmount: () => unmount(false),
    'unmount by force': () => unmount(true),
  };
  const unmount = (force: boolean): Promise<Plain> => mounted.unmount({ force }).then(() => null, codeOf);
  const answer = async ({ to, command, argument }: Asked): Promise<Plain> => {
    if (to !== 'mount') return (await open(to)).send(command, argument);
    const action = ofTheMount[command];
    if (!action) throw new RangeError(`there is no command ${command}`);
    return action();
  };
  const answering = new Set<Promise<void>>();
  process.on('message', (asked: Asked) => {
    const answered = answer(asked).then(
      (value) => say({ id: asked.id, value }),
      (error: unknown) => say({ id: asked.id, error: messageOf(error) }),
    );
    answering.add(answered);
    void answered.finally(() => answering.delete(answered));
  });
  process.once('disconnect', () => {
    void unmount(true).then(() => process.exit(1));
  });

  say({ event: 'mounted' });
  await mounted.ended;
  for (const lively of opened.values()) await (await lively).close();
  await Promise.allSettled(answering);
  process.removeAllListeners('disconnect');
  say({ event: 'ended' });
} catch (error) {
  say({ event: 'failed', message: messageOf(error) });
} finally {
  // Nothing else may keep the process: it ends by itself once the mount has.
  process.disconnect?.();
}

import { readdirSync } from 'node:fs';
import { pino } from 'pino';
import type { Mounted, Transport } from '../../mount/transport.js';
import { messageOf } from '../../src/errors.js';
import type { Tree } from '../../src/tree/tree.js';
import { isHosting, OpenedTrees } from './opened-trees.js';
import type { FromServer, ToServer, Usage } from './server-messages.js';
import { Grafted, isTreeName } from './trees/all.js';

/**
 * The process that serves a mount for the tests, which must never touch a mount that they serve themselves:
 *
 *   serve.js TRANSPORT HOSTING TREE MOUNTPOINT [allow-other] [read-only]
 *
 * TREE is the name of one tree, or `all` for one with all of them grafted upon it. Started with an IPC channel, over
 * which it says when the mount answers and takes commands; when the channel ends, so does the mount.
 */
const [transportName, hosting, treeName, mountpoint, ...flags] = process.argv.slice(2);
if (!isHosting(hosting) || !mountpoint || !(treeName === 'all' || isTreeName(treeName))) {
  throw new RangeError(`usage: serve.js TRANSPORT HOSTING TREE MOUNTPOINT, not ${process.argv.slice(2)}`);
}

const lines: string[] = [];
const log = pino(
  { level: 'info', base: null, timestamp: false, serializers: { error: messageOf } },
  { write: (line) => lines.push(line) },
);

const opened = new OpenedTrees(hosting);
const grafted = treeName === 'all' ? new Grafted((name) => opened.tree(name)) : undefined;
const root: Tree = grafted ?? (await opened.tree(treeName === 'all' ? 'bytes' : treeName));

const transport = await transportNamed(transportName);
const mounted: Mounted = await transport(root, {
  mountpoint,
  source: `stillfs-conformance-${transportName}-${hosting}`,
  allowOther: flags.includes('allow-other'),
  readOnly: flags.includes('read-only'),
  log,
});

mounted.ended.then(
  () => send({ kind: 'ended' }),
  (error: unknown) => send({ kind: 'ended', error: messageOf(error) }),
);

process.on('message', (message) => {
  const { id, request } = message as ToServer;
  perform(request).then(
    (value) => send({ kind: 'answer', id, value }),
    (error: unknown) => {
      const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
      send({ kind: 'failure', id, message: messageOf(error), ...(code !== undefined && { code }) });
    },
  );
});

// The test is gone: nobody is left who could need the mount.
process.on('disconnect', () => {
  mounted.unmount({ force: true }).finally(() => process.exit(1));
});

send({ kind: 'mounted', lacks: [...mounted.lacks] });

async function perform(request: ToServer['request']): Promise<unknown> {
  switch (request.kind) {
    case 'command':
      return opened.command(request.tree, request.command, request.argument);
    case 'log':
      return lines.splice(0);
    case 'usage':
      return usage();
    case 'uses':
      return grafted?.uses.get(request.tree) ?? 0;
    case 'unmount':
      await mounted.unmount({ force: request.force });
      return null;
    case 'end':
      // Whoever asks may have unmounted already.
      await mounted.unmount({ force: true }).catch(() => undefined);
      await opened.close();
      return null;
  }
}

function usage(): Usage {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  return { descriptors: readdirSync('/proc/self/fd').length, heap: heapUsed, resident: rss };
}

/** The transports are loaded when they are needed: one of them is optional, and native. */
async function transportNamed(name: string | undefined): Promise<Transport> {
  switch (name) {
    case 'kernel':
      return (await import('../../mount/kernel/mount.js')).mountOverKernel;
    case 'fuse-native':
      return (await import('../../mount/fuse-native/mount.js')).mountOverFuseNative;
    default:
      throw new RangeError(`there is no transport ${name}`);
  }
}

function send(message: FromServer): void {
  process.send?.(message);
}

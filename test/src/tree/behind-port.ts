import { MessageChannel } from 'node:worker_threads';
import { onTestFinished } from 'vitest';
import { StillError } from '../../../src/errors.js';
import { PortTrees } from '../../../src/tree/port/port-trees.js';
import { serveTree } from '../../../src/tree/port/serve-tree.js';
import type { Tree } from '../../../src/tree/tree.js';
import type { MemoryTree } from '../../conformance/memory-tree.js';

/** A tree that tells of no changes. */
export function unchanging(tree: MemoryTree): Tree {
  return {
    root: tree.root,
    lookup: (...given) => tree.lookup(...given),
    attributes: (...given) => tree.attributes(...given),
    list: (...given) => tree.list(...given),
    readlink: (...given) => tree.readlink(...given),
    xattr: (...given) => tree.xattr(...given),
    xattrs: (...given) => tree.xattrs(...given),
    open: (...given) => tree.open(...given),
    read: (...given) => tree.read(...given),
    seek: (...given) => tree.seek(...given),
    release: (...given) => tree.release(...given),
    close: () => tree.close(),
  };
}

export interface Behind {
  readonly tree: Tree;
  /** How often something was asked of the other end, and waited for. */
  readonly asked: () => number;
  /** Whether the other end owes an answer to somebody who waits: it must not be silent for long then. */
  readonly awaited: () => boolean;
  readonly breakDown: () => void;
}

/** A tree behind a port. */
export async function behindPort(tree: Tree): Promise<Behind> {
  const { port1, port2 } = new MessageChannel();
  const trees = new PortTrees({
    heard: () => undefined,
    fail: (happened, cause) => {
      throw new Error(happened, { cause });
    },
  });
  let asked = 0;
  const post = port2.postMessage.bind(port2);
  port2.postMessage = (message, ...more) => {
    if (message.kind === 'request') asked++;
    post(message, ...more);
  };
  const adopted = trees.adopt(port2, () => undefined);
  serveTree(tree, port1);
  const behind = await adopted;
  onTestFinished(() => behind.close().catch(() => undefined));
  const breakDown = (): void => trees.break(new StillError('EIO', 'the worker has ended'));
  return { tree: behind, asked: () => asked, awaited: () => trees.awaited, breakDown };
}

import { BroadcastChannel } from 'node:worker_threads';
import { serveHosted } from '../../src/tree/port/serve-tree.js';
import { answerCommands, commandChannel } from './commands.js';
import { isTreeName, trees } from './trees/all.js';

/** What the worker of a hosted tree runs: makes the tree of the name that it is given. */
await serveHosted(async (name) => {
  if (!isTreeName(name)) throw new RangeError(`there is no tree ${String(name)}`);
  const { tree, commands = {} } = trees[name]();
  answerCommands(new BroadcastChannel(commandChannel(name)), commands);
  return tree;
});

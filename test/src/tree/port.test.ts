import { once } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, test } from 'vitest';
import { type Name, nameFromText } from '../../../src/name.js';
import { WaitingWorker } from '../../../src/port/waiting-worker.js';
import { hostTree } from '../../../src/tree/port/host-tree.js';
import { serveTree } from '../../../src/tree/port/serve-tree.js';
import type { Change, Tree } from '../../../src/tree/tree.js';
import { CommandSender } from '../../conformance/commands.js';
import { MemoryTree } from '../../conformance/memory-tree.js';
import { pattern } from '../../conformance/pattern.js';
import { type TreeName, trees } from '../../conformance/trees/all.js';
import { errnos } from '../../conformance/trees/errors.js';
import { oddNames } from '../../conformance/trees/names.js';

const never = new AbortController().signal;
const hosted: Tree[] = [];
const senders: CommandSender[] = [];

// A worker runs compiled modules only: `npm run build` comes first, as in scripts/test.
const entry = new URL('../../../dist/test/conformance/hosted-entry.js', import.meta.url);

interface Limits {
  readonly silence?: number;
  readonly memory?: number;
  readonly signal?: AbortSignal;
}

async function host(name: TreeName | 'nonsense', { memory = 64, ...limits }: Limits = {}): Promise<Tree> {
  const worker = new WaitingWorker(entry, memory).take();
  const tree = await hostTree({ name: `tree ${name}`, worker, data: name, silence: 20, ...limits });
  hosted.push(tree);
  return tree;
}

function commander(name: TreeName): CommandSender {
  const sender = new CommandSender(name);
  senders.push(sender);
  return sender;
}

async function inodeOf(tree: Tree, ...path: string[]): Promise<bigint> {
  let inode = tree.root;
  for (const name of path) {
    const { attributes } = await tree.lookup(inode, nameFromText(name), never);
    if (!attributes) throw new Error(`there is no ${path.join('/')}`);
    inode = attributes.inode;
  }
  return inode;
}

async function openFile(tree: Tree, ...path: string[]): Promise<number> {
  return (await tree.open(await inodeOf(tree, ...path), 'read', never)).handle;
}

afterEach(async () => {
  for (const sender of senders.splice(0)) sender.close();
  for (const tree of hosted.splice(0)) await tree.close();
});

describe('a hosted tree answers as the tree itself does:', () => {
  /** The same question to both. */
  async function same<T>(name: TreeName, ask: (tree: Tree) => Promise<T>): Promise<T> {
    const answer = await ask(await host(name));
    expect(answer).toEqual(await ask(trees[name]().tree));
    return answer;
  }

  test('look-ups of names that are there and that are not, with names of any bytes', async () => {
    const answers = await same('names', async (tree) => {
      const folder = await inodeOf(tree, 'odd');
      const names = [...oddNames, '..', 'not there'];
      return Promise.all(names.map((name) => tree.lookup(folder, name as Name, never)));
    });
    expect(answers.filter(({ attributes }) => attributes)).toHaveLength(oddNames.length + 1);
  });

  test('attributes of every kind of file', async () => {
    await same('attributes', async (tree) => {
      const entries = await tree.list(tree.root, 0n, never);
      return Promise.all(entries.map(({ inode }) => tree.attributes(inode, never)));
    });
  });

  test('listings, piece after piece', async () => {
    const names = await same('forgetting', async (tree) => {
      const folder = await inodeOf(tree, 'folder');
      const all = [];
      for (let after = 0n; ; ) {
        const entries = await tree.list(folder, after, never);
        const last = entries.at(-1);
        if (!last) return all;
        all.push(...entries);
        after = last.cookie;
      }
    });
    expect(names).toHaveLength(10_000);
  });

  test('symlinks whose targets are any bytes', async () => {
    await same('names', async (tree) => {
      const entries = await tree.list(await inodeOf(tree, 'targets'), 0n, never);
      return Promise.all(
        entries.map(async ({ inode }) => Buffer.from(await tree.readlink(inode, never)).toString('hex')),
      );
    });
  });

  test('extended attributes of 64 KiB, and the names of all', async () => {
    await same('xattrs', async (tree) => {
      const large = await tree.xattr(await inodeOf(tree, 'large'), nameFromText('user.large'), never);
      return [
        Buffer.from(large).toString('hex'),
        await tree.xattrs(await inodeOf(tree, 'many'), never),
        await tree.xattrs(await inodeOf(tree, 'none'), never),
      ];
    });
  });

  test('how much room there is', async () => {
    await same('attributes', async (tree) => tree.capacity?.(never));
  });

  test('data and holes', async () => {
    const offsets = await same('bytes', async (tree) => {
      const handle = await openFile(tree, 'sparse-keep');
      const data = await tree.seek?.(handle, 0, 'data', never);
      return [data, await tree.seek?.(handle, data ?? 0, 'hole', never)];
    });
    expect(offsets).toEqual([2 ** 20, 2 ** 20 + 65536]);
  });
});

describe('reading', () => {
  test('many reads at once fill the targets that they were given, and nothing beside them', async () => {
    const tree = await host('bytes');
    const handle = await openFile(tree, 'large-direct');
    const reads = Array.from({ length: 64 }, async (_, index) => {
      const offset = 2 ** 32 + index * 70_001;
      const around = Buffer.alloc(65_536 + 16, 0xee);
      const target = around.subarray(8, 8 + 65_536 - index);
      expect(await tree.read(handle, offset, target, never)).toBe(target.length);
      expect(target.equals(pattern(offset, target.length))).toBe(true);
      expect(around.subarray(0, 8).every((byte) => byte === 0xee)).toBe(true);
      expect(around.subarray(8 + target.length).every((byte) => byte === 0xee)).toBe(true);
    });
    await Promise.all(reads);
    expect(reads).toHaveLength(64);
  });

  test('at the end of a file there is less, after it nothing', async () => {
    const tree = await host('bytes');
    const handle = await openFile(tree, 'keep');
    const target = Buffer.alloc(4096);
    expect(await tree.read(handle, 8 * 2 ** 20, target, never)).toBe(5);
    expect(await tree.read(handle, 9 * 2 ** 20, target, never)).toBe(0);
  });

  test('a descriptor of the worker is not handed out', async () => {
    const tree = await host('bytes');
    const opened = await tree.open(await inodeOf(tree, 'keep'), 'read', never);
    expect(opened).toEqual({ handle: opened.handle, cache: 'keep' });
  });
});

describe('changing', () => {
  test('each operation arrives with what it needs, and the caller keeps its bytes', async () => {
    const tree = await host('writable');
    const commands = commander('writable');
    const outcome = await tree.open(await inodeOf(tree, 'outcome'), 'read-write', never);
    const disk = await tree.open(await inodeOf(tree, 'disk.raw'), 'read-write', never);
    const bytes = Buffer.from('(success)').subarray(1, 8);
    await tree.write?.(outcome.handle, 3, bytes, never);
    expect(bytes.toString()).toBe('success');
    await tree.truncate?.(await inodeOf(tree, 'outcome'), 5, never);
    await tree.sync?.(outcome.handle, never);
    await tree.discard?.(disk.handle, 65_536, 4096, never);
    const folder = await inodeOf(tree, 'snapshots');
    const made = await tree.mkdir?.(folder, nameFromText('monday'), 0o750, never);
    expect(made?.attributes).toMatchObject({ type: 'directory', permissions: 0o750 });
    await tree.rmdir?.(folder, nameFromText('monday'), never);
    expect(await commands.send('calls', null)).toEqual([
      { write: 'success', offset: 3 },
      { truncate: 5 },
      { sync: 'outcome' },
      { discard: 65_536, length: 4096 },
      { mkdir: 'monday', permissions: 0o750 },
      { rmdir: 'monday' },
    ]);
  });

  test('an operation that the tree has not is not there', async () => {
    const tree = await host('bytes');
    expect(tree.seek).toBeDefined();
    for (const name of ['write', 'discard', 'sync', 'mkdir', 'rmdir', 'truncate', 'graft'] as const) {
      expect(tree[name]).toBeUndefined();
    }
  });

  test('what is released is closed in the worker', async () => {
    const tree = await host('bytes');
    const commands = commander('bytes');
    const handle = await openFile(tree, 'keep');
    expect(await commands.send('opened', null)).toBe(1);
    await tree.release(handle);
    expect(await commands.send('opened', null)).toBe(0);
    await expect(tree.release(handle)).rejects.toMatchObject({ code: 'EBADF' });
  });

  test('what is forgotten is forgotten in the worker, once', async () => {
    const tree = await host('forgetting');
    const inode = await inodeOf(tree, 'folder');
    tree.forget?.(inode);
    // Commands go by another way: a look-up after the forgetting says that it has arrived.
    await tree.attributes(tree.root, never);
    expect(await commander('forgetting').send('account', null)).toMatchObject({
      told: 0,
      forgotten: 1,
      forgottenTwice: 0,
    });
  });

  test('an inode is not forgotten while an answer that tells of it anew is on its way', async () => {
    const tree = await host('forgetting');
    const inode = await inodeOf(tree, 'folder');
    const again = inodeOf(tree, 'folder');
    // Sent before the second answer can have arrived, and handled after the worker has given it.
    tree.forget?.(inode);
    await again;
    await tree.attributes(tree.root, never);
    expect(await commander('forgetting').send('account', null)).toMatchObject({ told: 1, forgotten: 0 });
  });

  test('who watches hears of changes, until it no longer wants to', async () => {
    const tree = await host('changing');
    const commands = commander('changing');
    const heard: Change[] = [];
    const stop = tree.watch?.((change) => heard.push(change));
    await tree.attributes(tree.root, never);
    await commands.send('add', 'new-file');
    await tree.attributes(tree.root, never);
    expect(heard).toEqual([{ kind: 'entry', folder: tree.root, name: 'new-file' }]);
    stop?.();
    await tree.attributes(tree.root, never);
    await commands.send('remove', 'new-file');
    await tree.attributes(tree.root, never);
    expect(heard).toHaveLength(1);
  });
});

describe('failing', () => {
  test.each(errnos)('%s keeps its code and its sentence', async (code) => {
    const tree = await host('errors');
    const inode = await inodeOf(tree, 'open', code);
    await expect(tree.open(inode, 'read', never)).rejects.toMatchObject({
      name: 'StillError',
      code,
      message: `open of inode ${inode} fails, as it shall`,
    });
  });

  test('a mistake in the program stays one: no errno, and the stack of where it was made', async () => {
    const tree = await host('broken');
    const error: unknown = await tree
      .lookup(tree.root, nameFromText('lookup-throws'), never)
      .catch((e: unknown) => e);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toHaveProperty('code');
    expect(error).toHaveProperty('message', 'lookup met undefined');
    expect(error).toHaveProperty('stack', expect.stringContaining('broken.js'));
  });

  test('a tree that can not be made says why, and leaves no worker', async () => {
    await expect(host('nonsense')).rejects.toThrow('there is no tree nonsense');
  });

  test('trees that stand upon others are refused', async () => {
    const { port1, port2 } = new MessageChannel();
    const tree = Object.assign(new MemoryTree(), { graft: () => Promise.reject(new Error('never')) });
    expect(() => serveTree(tree, port1)).toThrow(expect.objectContaining({ code: 'EOPNOTSUPP' }));
    port1.close();
    port2.close();
  });
});

describe('waiting', () => {
  test('an abort ends the wait at once with its reason, and reaches the tree', async () => {
    const tree = await host('slow');
    const commands = commander('slow');
    const handle = await openFile(tree, 'slow-0');
    const abort = new AbortController();
    const reason = new Error('the reader has gone');
    const read = tree.read(handle, 0, Buffer.alloc(4096), abort.signal);
    read.catch(() => undefined);
    await commands.send('begun', 1);
    abort.abort(reason);
    await expect(read).rejects.toBe(reason);
    expect(await commands.send('aborted', 1)).toBe(1);
  });

  test('what was aborted before it began never reaches the tree', async () => {
    const tree = await host('slow');
    const handle = await openFile(tree, 'slow-0');
    const reason = new Error('too late');
    await expect(tree.read(handle, 0, Buffer.alloc(1), AbortSignal.abort(reason))).rejects.toBe(reason);
    await tree.attributes(tree.root, never);
    expect(await commander('slow').send('counts', null)).toMatchObject({ begun: 0 });
  });

  test('others are answered meanwhile', async () => {
    const tree = await host('slow');
    const commands = commander('slow');
    const handle = await openFile(tree, 'slow-0');
    const target = Buffer.alloc(4096);
    const slow = tree.read(handle, 0, target, never);
    await commands.send('begun', 1);
    expect(await inodeOf(tree, 'quick')).toBeGreaterThan(0n);
    await commands.send('release', null);
    expect(await slow).toBe(4096);
    expect(target.every((byte) => byte === 's'.charCodeAt(0))).toBe(true);
  });

  test('a file that was opened for nobody is closed again', async () => {
    const tree = await host('slow');
    const abort = new AbortController();
    const opening = tree.open(await inodeOf(tree, 'quick'), 'read', abort.signal);
    opening.catch(() => undefined);
    abort.abort();
    await expect(opening).rejects.toHaveProperty('name', 'AbortError');
    await tree.attributes(tree.root, never);
    await tree.attributes(tree.root, never);
    expect(await commander('slow').send('counts', null)).toMatchObject({ opened: 0 });
  });

  test('making a tree can be given up', async () => {
    const abort = new AbortController();
    const made = host('huge', { signal: abort.signal });
    abort.abort(new Error('no longer wanted'));
    await expect(made).rejects.toThrow('no longer wanted');
  });
});

describe('a worker that goes wrong is EIO, and its end:', () => {
  const cases = [
    ['exits', 'ended with code 7'],
    ['crashes', 'crashed: crashed, as it shall'],
    ['hangs', 'was silent for 1 seconds'],
    ['takes-memory', 'needed more than the 64 MiB'],
  ] as const;

  test.each(cases)('one that %s', async (file, reason) => {
    const tree = await host('broken', { silence: file === 'hangs' ? 1 : 20 });
    const other = await host('bytes');
    const handle = await openFile(tree, file);
    const read = tree.read(handle, 0, Buffer.alloc(4096), never);
    const beside = tree.attributes(tree.root, never);
    beside.catch(() => undefined);
    const failure = { code: 'EIO', message: expect.stringContaining(reason) as string };
    if (file === 'crashes') await read.catch(() => undefined);
    else await expect(read).rejects.toMatchObject(failure);
    await expect
      .poll(() => tree.attributes(tree.root, never).catch((error: unknown) => error))
      .toMatchObject(failure);
    await expect(tree.release(handle)).rejects.toMatchObject(failure);
    expect((await other.attributes(other.root, never)).type).toBe('directory');
    await tree.close();
  });

  test('one that answers nonsense, even where nobody waits for the answer any more', async () => {
    const tree = await host('broken');
    const abort = new AbortController();
    const opening = tree.open(await inodeOf(tree, 'opens-late'), 'read', abort.signal);
    opening.catch(() => undefined);
    abort.abort();
    await expect(opening).rejects.toHaveProperty('name', 'AbortError');
    await expect
      .poll(() => tree.attributes(tree.root, never).catch((error: unknown) => error))
      .toMatchObject({
        code: 'EIO',
        message: expect.stringContaining('sent what can not be understood') as string,
      });
  });

  test('a worker that is only busy with slow waits is left alone', async () => {
    const tree = await host('slow', { silence: 1 });
    const handle = await openFile(tree, 'slow-0');
    const read = tree.read(handle, 0, Buffer.alloc(4096), never);
    // Longer than it may be silent: it answers that it lives.
    await new Promise((resolve) => setTimeout(resolve, 1600));
    await commander('slow').send('release', null);
    expect(await read).toBe(4096);
  });
});

describe('closing', () => {
  test('ends the worker; what is asked later is EIO', async () => {
    const tree = await host('broken');
    const waiting = tree.attributes(tree.root, never);
    await Promise.all([waiting, tree.close()]);
    await tree.close();
    await expect(tree.attributes(tree.root, never)).rejects.toMatchObject({ code: 'EIO' });
  });

  test('aborts what the tree is still waiting for', async () => {
    const tree = await host('slow');
    const handle = await openFile(tree, 'slow-0');
    const read = tree.read(handle, 0, Buffer.alloc(4096), never);
    read.catch(() => undefined);
    await commander('slow').send('begun', 1);
    await tree.close();
    await expect(read).rejects.toThrow();
  });

  test('a closed port closes the tree that is served through it', async () => {
    const { port1, port2 } = new MessageChannel();
    let closed: () => void = () => undefined;
    const closing = new Promise<void>((resolve) => {
      closed = resolve;
    });
    class Closing extends MemoryTree {
      override async close(): Promise<void> {
        closed();
      }
    }
    serveTree(new Closing(), port1);
    const [ready] = (await once(port2, 'message')) as [{ kind: string }];
    expect(ready.kind).toBe('ready');
    port2.close();
    await closing;
  });
});

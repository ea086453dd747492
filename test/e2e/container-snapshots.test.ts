import { execFile } from 'node:child_process';
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rm,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseFileCapability } from '../../src/archives/capability.js';
import { builtCommand } from '../built-command.js';
import { compareTrees } from '../tree-comparison/compare-trees.js';
import { firstId, RunningContainer } from './running-container.js';
import { output } from './served-mount.js';

const run = promisify(execFile);
const times = process.env.STILLFS_FULL ? 60 : 8;

describe('a snapshot of a running container', () => {
  let container: RunningContainer;

  beforeAll(async () => {
    container = await RunningContainer.make();
    await container.mount();
  });
  afterAll(async () => container?.remove());

  const counters = async (snapshot: string): Promise<number[]> =>
    Promise.all(
      container.counters.map(async (path) =>
        Number(await readFile(container.path(snapshot, 'rootfs', path), 'utf8')),
      ),
    );

  it('is one instant of all its file systems, which stays while the container writes on', async () => {
    await container.count();
    let before = 0;
    for (let time = 0; time < times; time++) {
      await container.take(`s${time}`);
      const [root = 0, nested = 0, bound = 0] = await counters(`s${time}`);
      expect(root).toBeGreaterThan(before);
      expect([root - nested, nested - bound, root - bound]).toEqual(
        [root - nested, nested - bound, root - bound].map((apart) => Math.min(Math.max(apart, 0), 1)),
      );
      await container.inside('true');
      expect(await counters(`s${time}`)).toEqual([root, nested, bound]);
      await container.finish(`s${time}`);
      before = root;
    }
    expect(await container.left()).toEqual([]);
  });

  it('tells what it shows and what it does not', async () => {
    const facts = await container.take('facts');
    expect(facts).toMatchObject({
      chain: null,
      outcome: 'pending',
      broken: null,
      snapshot: 'btrfs',
      state: 'running',
    });
    expect(facts.mountPoints).toEqual([
      { path: '/', source: container.rootfs },
      { path: '/srv/nested', source: join(container.rootfs, 'srv', 'nested') },
      { path: '/srv/bound', source: container.bound },
    ]);
    expect(facts.omitted.map(({ path }) => path)).toContain('/usr/lib');
    expect(facts.freezeMilliseconds).toBeGreaterThan(0);
    expect(await readdir(container.path('facts'))).toEqual(
      expect.not.arrayContaining(['disks', 'changes', 'PROBLEM.txt']),
    );
    expect(await readFile(container.path('facts', 'guest.conf'))).toEqual(await readFile(container.config));
    expect(await container.told()).toMatchObject({
      type: 'lxc',
      state: 'running',
      rootfs: container.rootfs,
      mountPoints: [{ path: '/srv/bound', source: container.bound }],
    });
    await container.finish('facts');
  });

  it('shows ids as the container has them, in ACLs and capabilities too', async () => {
    await container.inside('mkdir -p /home/u && echo mine > /home/u/f && chown 1000:1001 /home/u/f');
    const file = join(container.rootfs, 'home', 'u', 'f');
    await output('setfacl', '-m', `u:${firstId + 7}:r,u:200000:w,g:${firstId + 8}:rx`, file);
    await output('setcap', '-n', String(firstId), 'cap_net_raw+ep', file);
    await container.take('ids');
    const shown = container.path('ids', 'rootfs', 'home', 'u', 'f');
    const { uid, gid } = await stat(shown);
    expect([uid, gid]).toEqual([1000, 1001]);
    const acl = await output('getfacl', '-n', '-c', '-p', shown);
    expect(acl).toContain('user:7:r--');
    expect(acl).toContain('user:65534:-w-');
    expect(acl).toContain('group:8:r-x');
    // As the container sees it, its own root needs not be named in a capability: that is revision 2.
    const attributes = await output('getfattr', '-d', '-m', '-', '-e', 'hex', '--absolute-names', shown);
    const [, value = ''] = /security\.capability=0x([0-9a-f]+)/.exec(attributes) ?? [];
    const capability = parseFileCapability(Buffer.from(value, 'hex'));
    expect(capability).toMatchObject({ revision: 2, effective: true, permitted: 1n << 13n });
    await container.finish('ids');
  });

  it('can be copied by rsync and tar, and is then the same', async () => {
    await container.inside(
      'ln /home/u/f /home/u/link; mknod /home/u/pipe p; ln -s /nowhere /home/u/dangling',
    );
    await container.take('copied');
    const shown = container.path('copied', 'rootfs');
    for (const [tool, line] of [
      ['rsync', 'rsync -aHAX --numeric-ids "$1/" "$2"'],
      [
        'tar',
        'tar --acls --xattrs --xattrs-include="*" --numeric-owner -C "$1" -cf - . | tar --acls --xattrs --xattrs-include="*" --numeric-owner -C "$2" -xpf -',
      ],
    ] as const) {
      const copy = join(container.folder, tool);
      await mkdir(copy);
      await output('sh', '-c', line, 'sh', shown, copy);
      expect(await compareTrees(shown, copy)).toEqual([]);
      expect(await readFile(join(copy, 'srv', 'bound', 'count'), 'utf8')).toMatch(/^\d{8}$/);
      await rm(copy, { recursive: true });
    }
    await container.finish('copied');
  });

  it('takes the word for how it went, and ends with files open', async () => {
    for (const outcome of ['success', 'failure', undefined] as const) {
      await container.take('open');
      const file = await open(container.path('open', 'rootfs', 'root', 'count'));
      const nested = await open(container.path('open', 'rootfs', 'srv', 'nested', 'count'));
      const read = async (from: FileHandle): Promise<number> =>
        (await from.read(Buffer.alloc(8), 0, 8, 0)).bytesRead;
      // What the kernel has of them by then, it must forget.
      for (const opened of [file, nested]) expect(await read(opened)).toBeGreaterThan(0);
      if (outcome) {
        await writeFile(container.path('open', 'outcome'), outcome);
        expect(await readFile(container.path('open', 'outcome'), 'utf8')).toBe(`${outcome}\n`);
      }
      await rmdir(container.path('open'));
      for (const ended of [file, nested]) {
        await expect.poll(() => read(ended).catch(String)).toMatch(/EIO/);
        await ended.close();
      }
      expect(await container.left()).toEqual([]);
    }
  });

  it('is refused by the names and numbers that mkdir has for that', async () => {
    await expect(container.take('chain@a')).rejects.toThrow(/EINVAL/);
    expect(container.log).toContain('a container has no chains, and each of its snapshots is whole: take a');
    await container.take('first');
    await expect(container.take('first')).rejects.toThrow(/EEXIST/);
    await expect(container.take('second')).rejects.toThrow(/EBUSY/);
    await container.finish('first');
  });

  it('is taken and ended by commands', async () => {
    const snapshot = async (...args: string[]): Promise<string> => {
      const words = [builtCommand, 'snapshot', ...args, '--mount', container.mountpoint];
      return (await run(process.execPath, words)).stdout;
    };
    expect(await snapshot('take', '201', 'nightly')).toBe(`${container.path('nightly')}\n`);
    expect(await snapshot('list', '201')).toMatch(/nightly +pending/);
    await snapshot('end', '201', 'nightly');
    expect(JSON.parse(await snapshot('take', '201', 'again', '--json'))).toMatchObject({ type: 'lxc' });
    await snapshot('abort', '201', 'again');
    expect(await container.left()).toEqual([]);
  });

  it('is the same where only the root file system is told, and LXC has its configuration beside that', async () => {
    await container.mount(['snapshot=btrfs', `rootfs=${container.rootfs}`]);
    const facts = await container.take('beside');
    expect(facts.mountPoints.map(({ path }) => path)).toEqual(['/', '/srv/nested', '/srv/bound']);
    expect(facts.freezeMilliseconds).toBeGreaterThan(0);
    expect((await stat(container.path('beside', 'rootfs', 'home', 'u', 'f'))).uid).toBe(1000);
    await container.finish('beside');
  });

  it('shows host ids where that is configured', async () => {
    await container.mount(['snapshot=btrfs', `conf=${container.config}`, 'ids=host']);
    await container.take('host');
    expect((await stat(container.path('host', 'rootfs', 'home', 'u', 'f'))).uid).toBe(firstId + 1000);
    await container.finish('host');
  });
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunningContainer } from './running-container.js';
import { output } from './served-mount.js';

describe('a container whose snapshots are taken in another way than by btrfs', () => {
  let container: RunningContainer;
  let take: string;
  let drop: string;
  let calls: string;

  beforeAll(async () => {
    container = await RunningContainer.make();
    take = join(container.folder, 'take');
    drop = join(container.folder, 'drop');
    calls = join(container.folder, 'calls');
    await container.inside('echo one > /root/file; echo two > /srv/bound/file');
  });
  afterAll(async () => container?.remove());

  const facts = '$STILLFS_GUEST $STILLFS_SNAPSHOT';
  const copy = (): string => join(container.folder, 'copies');

  /** Mounts with these programs as take and drop. */
  async function mountWith(taking: string, dropping: string, ...keys: string[]): Promise<void> {
    for (const [path, text] of [
      [take, taking],
      [drop, dropping],
    ] as const)
      await writeFile(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    await rm(calls, { force: true });
    await container.mount([
      'snapshot=command',
      `conf=${container.config}`,
      `take=${take}`,
      `drop=${drop}`,
      ...keys,
    ]);
  }
  const called = (): Promise<string> => readFile(calls, 'utf8').catch(() => '');
  const copying = (): string =>
    `mkdir -p ${copy()} && cp -a ${container.rootfs} ${copy()}/$STILLFS_ID && echo take ${facts} >> ${calls} && echo ${copy()}/$STILLFS_ID`;
  const dropping = (): string =>
    `rm -rf ${copy()}/$STILLFS_ID && echo drop ${facts} "$STILLFS_FOLDER" $STILLFS_OUTCOME >> ${calls}`;

  it('shows what a command of the user took, and has another drop it', async () => {
    await mountWith(copying(), dropping());
    const { id, ...told } = await container.take('a');
    const folder = join(copy(), id);
    expect(told).toMatchObject({ snapshot: 'command', mountPoints: [{ path: '/', source: folder }] });
    expect(told.omitted.map(({ path }) => path)).toContain('/srv/bound');
    const file = container.path('a', 'rootfs', 'root', 'file');
    expect(await readFile(file, 'utf8')).toBe('one\n');
    expect((await stat(file)).uid).toBe(0);
    await container.finish('a', 'success');
    expect(await called()).toBe(`take 201 a\ndrop 201 a ${folder} success\n`);
    expect(await container.left()).toEqual([]);
  });

  it('has a command that hangs ended by the deadline, and dropped', async () => {
    await mountWith('sleep 4242 & wait', dropping(), 'takeTimeout=1');
    await expect(container.take('slow')).rejects.toThrow(/ETIMEDOUT/);
    expect(await called()).toBe('drop 201 slow  failure\n');
    expect(await output('sh', '-c', 'pgrep -fx "sleep 4242" || true')).toBe('');
    expect(await container.left()).toEqual([]);
  });

  it('is not taken for who does not wait for it', async () => {
    await mountWith(`echo begun >> ${calls}; sleep 4244; echo never`, dropping());
    const maker = spawn('mkdir', [container.path('given-up')], { stdio: 'ignore' });
    const ended = once(maker, 'exit');
    await expect.poll(called).toBe('begun\n');
    maker.kill('SIGINT');
    await ended;
    await expect.poll(called).toBe('begun\ndrop 201 given-up  failure\n');
    expect(await output('sh', '-c', 'pgrep -fx "sleep 4244" || true')).toBe('');
    await expect.poll(() => container.left()).toEqual([]);
  });

  it.each([
    ['fails', 'echo no such pool >&2; exit 3', 'failed (exit code 3): no such pool'],
    ['gives no folder', 'echo nowhere', 'gave "nowhere": expected the path of a folder'],
    ['gives a folder that is not there', 'echo /nowhere', 'is not there: no folder /nowhere'],
  ])('tells why there is none where the command %s, and drops it', async (_, text, why) => {
    await mountWith(text, dropping());
    await expect(container.take('none')).rejects.toThrow(/EIO|ENODEV/);
    expect(container.log).toContain(why.replaceAll('"', '\\"'));
    expect(await called()).toMatch(/^drop 201 none .*failure\n$/);
    expect(await container.left()).toEqual([]);
  });

  it('is told by rmdir that a snapshot could not be dropped, and tries again before the next', async () => {
    await mountWith(copying(), `test -e ${calls}.may || exit 1; ${dropping()}`);
    await container.take('kept');
    await expect(container.finish('kept', 'success')).rejects.toThrow(/EIO/);
    await expect(container.take('next')).rejects.toThrow(/EBUSY/);
    expect(container.log).toContain(
      'an earlier snapshot of guest 201 is not ended: drop of guest 201 failed',
    );
    await writeFile(`${calls}.may`, '');
    await container.take('next');
    await container.finish('next');
    expect(await called()).toMatch(
      /^take .*kept.*\ndrop .*kept.* success\ntake .*next.*\ndrop .*next.* failure\n$/,
    );
    expect(await container.left()).toEqual([]);
  });

  it('drops at the next start what a daemon that was killed has left, also what was still being taken', async () => {
    await mountWith(copying(), dropping());
    const { id } = await container.take('left');
    await container.mount(['snapshot=command', `conf=${container.config}`, `take=${take}`, `drop=${drop}`]);
    await expect.poll(called).toContain(`drop 201 left ${join(copy(), id)} failure\n`);
    await expect.poll(() => container.left()).toEqual([]);

    await mountWith(`echo begun >> ${calls}; sleep 4243; echo never`, dropping());
    const taking = container.take('begun');
    taking.catch(() => undefined);
    await expect.poll(called).toBe('begun\n');
    await container.mount(['snapshot=none', `conf=${container.config}`]);
    await expect(taking).rejects.toThrow();
    await expect.poll(called).toBe('begun\ndrop 201 begun  failure\n');
    expect(await output('sh', '-c', 'pgrep -fx "sleep 4243" || true')).toBe('');
    await expect.poll(() => container.left()).toEqual([]);
  });

  it('shows the live files where no snapshot is to be taken, and says so', async () => {
    await container.mount(['snapshot=none', `conf=${container.config}`]);
    const told = await container.take('live');
    expect(told).toMatchObject({ snapshot: 'none', freezeMilliseconds: null });
    expect(told.live).toContain('they change while they are read');
    const files = ['root/file', 'srv/bound/file', 'srv/nested/new'].map((path) =>
      container.path('live', 'rootfs', path),
    );
    const [root = '', bound = '', made = ''] = files;
    expect(await readFile(root, 'utf8')).toBe('one\n');
    await expect(readFile(made)).rejects.toThrow(/ENOENT/);
    await container.inside(
      'echo three >> /root/file; echo four > /srv/bound/file; echo made > /srv/nested/new',
    );
    expect(await readFile(root, 'utf8')).toBe('one\nthree\n');
    expect(await readFile(bound, 'utf8')).toBe('four\n');
    expect(await readFile(made, 'utf8')).toBe('made\n');
    await container.finish('live');
    expect(await container.left()).toEqual([]);
  });
});

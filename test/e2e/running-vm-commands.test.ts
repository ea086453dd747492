import { readdir, readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeMarked } from '../machine/known-writes.js';
import { type Run, run, stillfs } from './command-line.js';
import { granulesOf } from './increments.js';
import { MountedGuest } from './mounted-guest.js';

const mebibyte = 2 ** 20;
const diskBytes = 8 * mebibyte;

describe('stillfs snapshot and stillfs chain, with a running VM', () => {
  let guest: MountedGuest;

  beforeAll(async () => {
    guest = await MountedGuest.make({
      agent: false,
      memoryMebibytes: 128,
      disks: [{ id: 'disk', bytes: diskBytes, format: 'qcow2' }],
    });
    await guest.mount();
  });
  afterAll(() => guest?.remove());
  // A test that failed holds up no other.
  afterEach(async () => {
    for (const left of await readdir(guest.path()).catch(() => [])) await guest.finish(left);
  });

  const snapshot = (verb: string, ...args: string[]): Promise<Run> =>
    stillfs('snapshot', verb, '100', ...args, '--mount', guest.mountpoint);
  const chain = (verb: string, ...args: string[]): Promise<Run> => {
    const told = `id=100,qmp=${guest.machine.qmpPath},fleecing=${guest.fleecing}`;
    return stillfs('chain', verb, '100', ...args, '--guest', told);
  };

  it('take prints the snapshot’s folder, list shows it, end records its success', async () => {
    const taken = await snapshot('take', 'nightly@1');
    expect(taken).toEqual({ exitCode: 0, stdout: guest.path('nightly@1'), stderr: '' });
    expect((await snapshot('list')).stdout.split('\n')).toEqual([
      expect.stringMatching(/^NAME +OUTCOME$/),
      expect.stringMatching(/^nightly@1 +pending$/),
    ]);
    const [listed] = JSON.parse((await snapshot('list', '--json')).stdout);
    expect(listed).toMatchObject({ chain: 'nightly', disks: [{ name: 'disk', mode: 'new' }] });
    expect(await snapshot('end', 'nightly@1')).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(await readdir(guest.path())).toEqual([]);

    const range = { offset: mebibyte, length: 4096 };
    await writeMarked(guest.machine, 'disk', range.offset, range.length, 'written');
    const again = JSON.parse((await snapshot('take', 'nightly@2', '--json')).stdout);
    expect(again).toMatchObject({ disks: [{ mode: 'reuse', base: listed.id, dirty: 65_536 }] });
    expect(again).toEqual(JSON.parse(await readFile(guest.path('nightly@2', 'snapshot.json'), 'utf8')));
    expect((await snapshot('abort', 'nightly@2')).exitCode).toBe(0);
    await guest.take('nightly@3');
    expect(await guest.dirty('nightly@3', 'disk')).toEqual(granulesOf([range], diskBytes));
    await guest.finish('nightly@3', 'success');
  });

  it('take says why it can’t, and with --wait waits until it can', async () => {
    expect((await snapshot('take', 'first')).exitCode).toBe(0);
    const refused = await snapshot('take', 'second');
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain('the guest has another snapshot open');
    expect((await snapshot('take', 'first')).stderr).toContain('there is one of that name');
    const waiting = snapshot('take', 'second', '--wait');
    expect((await snapshot('end', 'first')).exitCode).toBe(0);
    expect(await waiting).toMatchObject({ exitCode: 0, stdout: guest.path('second') });
    expect((await snapshot('abort', 'second')).exitCode).toBe(0);
    expect((await snapshot('end', 'second')).exitCode).not.toBe(0);
    expect((await snapshot('take', 'no/name')).stderr).toContain("can't be a snapshot's name");
    const nobody = await stillfs('snapshot', 'list', '101', '--mount', guest.mountpoint);
    expect(nobody.stderr).toContain('does not show guest 101');
  });

  it('chain list shows bitmaps, and drop removes them: so QEMU can go back to a state of its own again', async () => {
    const hmp = (line: string): Promise<unknown> =>
      guest.machine.qmp('human-monitor-command', { 'command-line': line });
    expect(await hmp('savevm before')).toBe('');
    await guest.take('weekly@1');
    await guest.finish('weekly@1', 'success');
    const { stdout } = await chain('list');
    expect(stdout).toMatch(/^CHAIN +DISK +STATE +PERSISTENT +DIRTY +BASE$/m);
    expect(stdout).toMatch(/^weekly +disk +recording +yes +0 +[0-9a-f]{32}$/m);
    const told: Array<{ name: string }> = JSON.parse((await chain('list', '--json')).stdout);
    expect(told.map(({ name }) => name).sort()).toEqual(['nightly', 'weekly']);

    expect(await hmp('loadvm before')).toContain('bitmap');
    await guest.take('open');
    expect(await chain('drop')).toMatchObject({ stderr: expect.stringContaining('has a snapshot open') });
    await guest.finish('open');
    expect((await chain('drop', 'weekly')).stdout).toBe('removed 1 bitmap of guest 100');
    expect(await hmp('loadvm before')).toContain('bitmap');
    expect((await chain('drop')).stdout).toBe('removed 1 bitmap of guest 100');
    expect((await chain('drop')).stdout).toBe('removed 0 bitmaps of guest 100');
    expect(JSON.parse((await chain('list', '--json')).stdout)).toEqual([]);
    expect(await hmp('loadvm before')).toBe('');

    const { disks } = await guest.take('weekly@2');
    expect(disks).toMatchObject([{ mode: 'new', reason: 'the bitmap is lost' }]);
    await guest.finish('weekly@2', 'success');
  });

  it('without its chains an image can be reverted by qemu-img', async () => {
    expect(await guest.end()).toBe(0);
    const image = guest.image('disk');
    const revert = (): Promise<Run> => run('qemu-img', ['snapshot', '-a', 'before', image]);
    await guest.machine.quit();
    expect((await revert()).exitCode).not.toBe(0);
    await guest.machine.remove();
    await guest.boot();
    expect((await chain('drop')).stdout).toBe('removed 1 bitmap of guest 100');
    await guest.machine.quit();
    expect(await revert()).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect((await chain('list')).stderr).toContain('it is off');
  });
});

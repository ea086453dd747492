import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultTable } from '../faults/fault-table.js';
import { RunningContainer } from './running-container.js';
import { output } from './served-mount.js';

/** How long a container may stand still after whatever happens. */
const patience = { timeout: 2000, interval: 10 };

describe('what goes wrong with snapshots of a container', () => {
  const table = new FaultTable();
  let container: RunningContainer;

  beforeAll(async () => {
    container = await RunningContainer.make();
    await container.mount();
  });
  afterAll(async () => {
    table.print('Faults with snapshots of a container');
    await container?.remove();
  });

  /** The container runs, a snapshot can be taken and read, and nothing is left of anything. */
  async function expectAllRight(): Promise<void> {
    await expect.poll(() => container.left(), { timeout: 10_000 }).toEqual([]);
    await container.inside('echo here > /srv/nested/here');
    await container.take('after');
    const shown = container.path('after', 'rootfs', 'srv', 'nested', 'here');
    expect(await readFile(shown, 'utf8')).toBe('here\n');
    await container.finish('after', 'success');
    expect(await container.left()).toEqual([]);
  }

  const during = (fault: string, work: () => Promise<string | undefined>): Promise<string | undefined> =>
    table.during(fault, work, () => container.log);

  describe.each(['keeper', 'daemon', 'both', 'itself'] as const)('somebody is killed: %s', (who) => {
    // Freezing, thawing, the record; the daemon itself: the record, that it is taken, the outcome, the record's end.
    it.each(who === 'itself' ? [1, 2, 3, 4] : [1, 2, 3])('at step %i', async (step) => {
      await during(`kill -9, ${who} ${step}`, async () => {
        const killed = `${container.killOrders}.killed`;
        await rm(killed, { force: true });
        // A daemon's steps are counted from its start.
        if (who === 'itself') await container.mount();
        await writeFile(container.killOrders, `${who} ${step}`);
        const snapshot = container.take('s').then(() => container.finish('s', 'success'));
        snapshot.catch(() => undefined);
        await expect.poll(() => existsSync(killed), { timeout: 20_000, interval: 5 }).toBe(true);
        const begun = Date.now();
        if (who !== 'both') await expect.poll(() => container.frozen(), patience).toBe(false);
        const thawed = Date.now() - begun;
        if (who !== 'keeper') await container.mount();
        await snapshot.catch(() => undefined);
        await expectAllRight();
        return `right: ${(await readFile(killed, 'utf8')).trim()}; the container ran ${who === 'both' ? 'after the next start' : `${thawed} ms later`}`;
      });
    });
  });

  it('the file system is full: there is a snapshot or there is none, and no more', async () => {
    await during('the file system is full', async () => {
      await container.inside(
        'dd if=/dev/zero of=/root/fill bs=1M 2>/dev/null; sync; echo x > /srv/nested/more; true',
      );
      const outcome = await container.take('full').then(
        async () => {
          expect((await readFile(container.path('full', 'rootfs', 'root', 'fill'))).length).toBeGreaterThan(
            0,
          );
          await container.finish('full');
          return 'a snapshot could be taken and read';
        },
        (error: unknown) => {
          expect(String(error)).toMatch(/ENOSPC/);
          return 'ENOSPC';
        },
      );
      expect(await container.left()).toEqual([]);
      await container.inside('rm /root/fill');
      await expectAllRight();
      return outcome;
    });
  });

  it('somebody else has frozen the container: it stays so', async () => {
    await during('frozen by its administrator', async () => {
      const file = join(await container.cgroup(), 'cgroup.freeze');
      await writeFile(file, '1');
      try {
        expect((await container.take('frozen')).freezeMilliseconds).toBeNull();
        expect(await readFile(file, 'utf8')).toBe('1\n');
        await container.finish('frozen');
        expect(await readFile(file, 'utf8')).toBe('1\n');
      } finally {
        await writeFile(file, '0');
      }
      return undefined;
    });
  });

  it('the container does not stand still in time: it goes on, and there is no snapshot', async () => {
    await during('the freeze takes too long', async () => {
      await container.mount(['snapshot=btrfs', `conf=${container.config}`, 'freezeTimeout=0.001']);
      await expect(container.take('late')).rejects.toThrow(/ETIMEDOUT/);
      await expect.poll(() => container.frozen(), patience).toBe(false);
      expect(await container.left()).toEqual([]);
      await container.mount();
      return undefined;
    });
  });

  it('a snapshot is too old: it is broken, and takes up no room', async () => {
    await during('older than maxAge', async () => {
      await container.mount(['snapshot=btrfs', `conf=${container.config}`, 'maxAge=0.5']);
      await container.take('old');
      await expect.poll(() => container.left()).toEqual([]);
      expect(await readdir(container.path('old'))).toContain('PROBLEM.txt');
      await expect(readdir(container.path('old', 'rootfs'))).rejects.toThrow(/EIO/);
      await expect(writeFile(container.path('old', 'outcome'), 'success')).rejects.toThrow(/EIO/);
      await container.finish('old');
      await container.mount();
      return undefined;
    });
  });

  it('what can not be in a snapshot is told, and not shown as an empty folder', async () => {
    await during('a mount point that is no btrfs', async () => {
      const config = await readFile(container.config, 'utf8');
      const other = join(container.folder, 'other');
      await output('mkdir', '-p', other);
      await container.inside('mkdir -p /srv/other');
      await writeFile(container.config, `${config}lxc.mount.entry = ${other} srv/other none bind 0 0\n`);
      try {
        const { omitted } = await container.take('omits');
        expect(omitted).toContainEqual({
          path: '/srv/other',
          reason: expect.stringContaining('lies in no subvolume of a btrfs'),
        });
        expect((await readdir(container.path('omits', 'rootfs', 'srv'))).sort()).toEqual(['bound', 'nested']);
        await container.finish('omits');
      } finally {
        await writeFile(container.config, config);
      }
      return undefined;
    });
  });

  it('the configuration can not be understood: the place is told', async () => {
    await during('a damaged configuration', async () => {
      const config = await readFile(container.config, 'utf8');
      await writeFile(container.config, `${config}lxc.idmap = u 0 100000\n`);
      try {
        await expect(container.take('damaged')).rejects.toThrow(/EINVAL/);
        const line = config.split('\n').length;
        const why = `${container.config}:${line}: lxc.idmap: expected`;
        await expect.poll(async () => (await container.told()).reason).toContain(why);
      } finally {
        await writeFile(container.config, config);
      }
      return undefined;
    });
  });

  it('the container has its cgroup where nobody looks for it: LXC freezes it', async () => {
    await during('no cgroup of its name', async () => {
      const config = await readFile(container.config, 'utf8');
      await container.stop();
      const away = 'lxc.cgroup.dir.container = away\nlxc.cgroup.dir.monitor = away-monitor\n';
      await writeFile(container.config, `${config}${away}`);
      try {
        await container.start();
        expect(await container.cgroup()).not.toContain('payload');
        await container.count();
        const { freezeMilliseconds } = await container.take('by-lxc');
        expect(freezeMilliseconds).toBeGreaterThan(0);
        const [first = 0, , last = 0] = await Promise.all(
          container.counters.map(async (path) =>
            Number(await readFile(container.path('by-lxc', 'rootfs', path), 'utf8')),
          ),
        );
        expect([0, 1]).toContain(first - last);
        await container.finish('by-lxc');
        expect(await output('lxc-info', '-P', container.lxcPath, '-n', 'still', '-s', '-H')).toContain(
          'RUNNING',
        );
      } finally {
        await container.stop();
        await writeFile(container.config, config);
        await container.start();
      }
      await expectAllRight();
      return undefined;
    });
  });

  it('the container is stopped: its snapshot needs no freeze; it is gone: there is none', async () => {
    await during('stopped, and gone', async () => {
      await container.stop();
      await expect.poll(async () => (await container.told()).state).toBe('stopped');
      expect(await container.take('stopped')).toMatchObject({ state: 'stopped', freezeMilliseconds: null });
      expect(await readFile(container.path('stopped', 'rootfs', 'srv', 'nested', 'here'), 'utf8')).toBe(
        'here\n',
      );
      await container.finish('stopped');
      const away = `${container.rootfs}-away`;
      await rename(container.rootfs, away);
      await expect(container.take('gone')).rejects.toThrow(/ENODEV/);
      expect(container.log).toContain('is not there: no folder');
      await rename(away, container.rootfs);
      await rename(container.config, `${container.config}-away`);
      await expect.poll(async () => (await container.told()).state).toBe('gone');
      await expect(container.take('gone')).rejects.toThrow(/ENODEV/);
      await rename(`${container.config}-away`, container.config);
      await container.mount(['snapshot=btrfs', `conf=${container.config}`, 'name=nobody']);
      await expect(container.take('gone')).rejects.toThrow(/ENODEV/);
      expect(container.log).toContain('LXC has no container nobody');
      await container.mount();
      await container.start();
      await expectAllRight();
      return undefined;
    });
  });
});

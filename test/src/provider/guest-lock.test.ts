import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type GuestLock, type LockWish, lockGuest } from '../../../src/provider/lock/guest-lock.js';

describe('the lock of a guest', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-lock-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const { signal } = new AbortController();
  const lock = (
    how: LockWish['how'],
    waitSeconds = 0,
    purpose = `a ${how} test`,
    giveUp = signal,
  ): Promise<GuestLock> => lockGuest(folder, { how, purpose, waitSeconds }, giveUp);

  it('is had by one who changes backups, or by many who read them', async () => {
    const readers = [await lock('shared'), await lock('shared')];
    await expect(lock('exclusive')).rejects.toMatchObject({ code: 'EBUSY' });
    for (const reader of readers) await reader.release();
    const writer = await lock('exclusive', 0, 'stillfs backup');
    for (const how of ['shared', 'exclusive'] as const) {
      const busy = `is in use by "stillfs backup", process ${process.pid}; --wait SECONDS waits for it`;
      await expect(lock(how)).rejects.toThrow(busy);
    }
    await writer.release();
    await (await lock('shared')).release();
  });

  it('goes with a process that is killed, and is waited for', async () => {
    const held = spawn('flock', ['-F', join(folder, '.lock'), 'sh', '-c', 'echo locked; exec sleep 100']);
    await once(held.stdout, 'data');
    await expect(lock('exclusive')).rejects.toThrow(/another process/);
    const waiting = lock('exclusive', 60);
    held.kill('SIGKILL');
    await (await waiting).release();
  });

  it('is given up by who does not want to wait any more', async () => {
    const writer = await lock('exclusive');
    const tired = new AbortController();
    const waiting = lock('exclusive', 60, 'another', tired.signal);
    tired.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow();
    await expect(lock('exclusive', 0.3)).rejects.toThrow('after 0.3 s');
    await writer.release();
  });
});

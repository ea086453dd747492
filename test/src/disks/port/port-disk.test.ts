import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Disk } from '../../../../src/disks/disk.js';
import { PortDisk } from '../../../../src/disks/port/port-disk.js';
import { serveDisk } from '../../../../src/disks/port/serve-disk.js';
import { StillError } from '../../../../src/errors.js';

const content = randomBytes(20 * 2 ** 20);

/** A disk of random bytes; what lies in its second mebibyte is damaged, and the third is never read to an end. */
class OddDisk implements Disk {
  readonly size = content.length;
  readonly aborted: unknown[] = [];
  waiting = 0;

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const place = Math.floor(offset / 2 ** 20);
    if (place === 1) throw new StillError('EIO', 'the second mebibyte is damaged');
    if (place === 2) {
      this.waiting++;
      await new Promise((_, reject) => {
        signal?.addEventListener('abort', () => {
          this.aborted.push(signal.reason);
          reject(signal.reason);
        });
      });
    }
    target.set(content.subarray(offset, offset + target.length));
  }

  async extents(
    offset: number,
    length: number,
  ): Promise<Array<{ offset: number; length: number; zero: boolean; dirty: boolean }>> {
    return [{ offset, length, zero: offset === 0, dirty: true }];
  }

  async close(): Promise<void> {
    throw new Error('it stays its owner’s');
  }
}

describe('a disk behind a port', () => {
  let owner: OddDisk;
  let channel: MessageChannel;
  let disk: PortDisk;
  beforeEach(() => {
    owner = new OddDisk();
    channel = new MessageChannel();
    serveDisk(owner, channel.port1);
    disk = new PortDisk(channel.port2, { size: owner.size, name: 'the disk', descriptor: undefined });
  });
  afterEach(() => disk.close());

  it('gives the bytes of the disk, also more at once than one message may hold, and several times over', async () => {
    const whole = Buffer.alloc(17 * 2 ** 20 - 3);
    for (const from of [3 * 2 ** 20, 3 * 2 ** 20 + 1]) {
      const target = whole.subarray(0, owner.size - from);
      await disk.read(from, target);
      expect(target.equals(content.subarray(from, from + target.length))).toBe(true);
    }
    const many = Array.from({ length: 40 }, (_, place) => ({
      from: place * 997,
      target: Buffer.alloc(1000 + place),
    }));
    await Promise.all(many.map(({ from, target }) => disk.read(from, target)));
    for (const { from, target } of many)
      expect(target.equals(content.subarray(from, from + target.length))).toBe(true);
  });

  it('tells its extents, and fails as the disk fails', async () => {
    expect(await disk.extents(0, 4096)).toEqual([{ offset: 0, length: 4096, zero: true, dirty: true }]);
    await expect(disk.read(2 ** 20, Buffer.alloc(1))).rejects.toMatchObject({
      code: 'EIO',
      message: 'the second mebibyte is damaged',
    });
    await expect(disk.read(owner.size, Buffer.alloc(1))).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('lets go of a read that is aborted, here at once and at its owner too', async () => {
    const abort = new AbortController();
    const read = disk.read(2 * 2 ** 20, Buffer.alloc(1), abort.signal);
    abort.abort(new Error('interrupted'));
    await expect(read).rejects.toThrow('interrupted');
    await expect.poll(() => owner.aborted.length).toBe(1);
    await disk.read(0, Buffer.alloc(1));
  });

  it('fails what waits, and whatever is asked then, when its owner is gone', async () => {
    const read = disk.read(2 * 2 ** 20, Buffer.alloc(1));
    const failed = expect(read).rejects.toMatchObject({
      code: 'EIO',
      message: /the disk is not served any more/,
    });
    await expect.poll(() => owner.waiting).toBe(1);
    channel.port1.close();
    await once(channel.port2, 'close');
    await failed;
    await expect(disk.read(0, Buffer.alloc(1))).rejects.toMatchObject({ code: 'EBADF' });
    await expect.poll(() => owner.aborted.length).toBe(1);
  });
});

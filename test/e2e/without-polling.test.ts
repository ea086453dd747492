import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MountedStore, output, sha256 } from './mounted-store.js';

describe('under a Node that gives no way to poll a device', () => {
  let store: MountedStore;

  beforeAll(async () => {
    store = await MountedStore.make();
    const without = join(store.folder, 'without-binding.cjs');
    await writeFile(without, 'process.binding = undefined;\n');
    const folder = join(store.store, '100', 'qemu-1700000000');
    await mkdir(folder, { recursive: true });
    await output(
      'dd',
      'if=/dev/urandom',
      `of=${join(folder, 'plain.raw')}`,
      'bs=1M',
      'count=8',
      'status=none',
    );
    await output('qemu-img', 'convert', '-O', 'qcow2', join(folder, 'plain.raw'), join(folder, 'disk.qcow2'));
    process.env.NODE_OPTIONS = `--require ${without}`;
    try {
      await store.mount();
    } finally {
      delete process.env.NODE_OPTIONS;
    }
  });
  afterAll(() => store.remove());

  it('the thread pool reads the requests, and disks are whole', async () => {
    const stored = join(store.store, '100', 'qemu-1700000000', 'plain.raw');
    expect(await sha256(store.path('100', 'latest', 'disks', 'disk.raw'))).toBe(await sha256(stored));
    expect(await store.end()).toBe(0);
  });
});

import { mkdir, open, readdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { qemuImg } from '../corpus/qcow2-images.js';
import { MountedStore, output, sha256 } from './mounted-store.js';

const backup = 'qemu-1700000000';
const time = '20231114T221320Z';
const depth = 10_000;

/** Each makes a disk `bad` in a backup's folder that must not be read. */
const hostile: Array<[what: string, make: (folder: string, store: MountedStore) => Promise<unknown>]> = [
  ['a backing file out of the store', (folder) => overlay(folder, '../../../secret.raw', 'raw')],
  ['an absolute backing file', (folder) => overlay(folder, '/etc/passwd', 'raw')],
  [
    'a backing file through a link',
    async (folder, { folder: outside }) => {
      await symlink(join(outside, 'secret.raw'), join(folder, 'link.raw'));
      await overlay(folder, 'link.raw', 'raw');
    },
  ],
  [
    'a json: backing file',
    (folder) =>
      overlay(folder, 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}', 'raw'),
  ],
  ['an nbd: backing file', (folder) => overlay(folder, 'nbd:unix:/tmp/socket', 'raw')],
  [
    'a circle',
    async (folder) => {
      await overlay(folder, 'other.qcow2', 'qcow2');
      await overlay(folder, 'bad.qcow2', 'qcow2', 'other.qcow2');
    },
  ],
  [
    `a chain of ${depth}`,
    async (folder) => {
      await overlay(folder, '../parts/part-00001.qcow2', 'qcow2');
      const bytes = await readFile(join(folder, 'bad.qcow2'));
      const parts = join(folder, '..', 'parts');
      await mkdir(parts);
      for (let part = 1; part <= depth; part++) {
        const next = Buffer.from(bytes);
        const at = next.indexOf('part-00001');
        next.write(`part-${String(part + 1).padStart(5, '0')}`, at, 'latin1');
        await writeFile(join(parts, `part-${String(part).padStart(5, '0')}.qcow2`), next.subarray(0, 4096));
      }
    },
  ],
  [
    'a size beyond 2^53',
    async (folder) => {
      await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'bad.qcow2', '1M');
      const file = await open(join(folder, 'bad.qcow2'), 'r+');
      await file.write(Buffer.from('7fffffffffffffff', 'hex'), 0, 8, 24);
      await file.close();
    },
  ],
  [
    'a vmdk descriptor that names another file',
    (folder) =>
      writeFile(
        join(folder, 'bad.vmdk'),
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n',
      ),
  ],
  ['a link instead of a disk', (folder) => symlink('/etc/passwd', join(folder, 'bad.raw'))],
  ['a fifo instead of a disk', (folder) => output('mkfifo', join(folder, 'bad.raw'))],
  ['an empty qcow2', (folder) => writeFile(join(folder, 'bad.qcow2'), '')],
];

function overlay(folder: string, backing: string, format: string, name = 'bad.qcow2'): Promise<string> {
  return qemuImg(folder, 'create', '-q', '-u', '-f', 'qcow2', '-F', format, '-b', backing, name, '1M');
}

describe('a store with hostile images', () => {
  let store: MountedStore;

  beforeAll(async () => {
    store = await MountedStore.make();
    await writeFile(join(store.folder, 'secret.raw'), 'secret'.repeat(1000));
    for (const [place, [, make]] of hostile.entries()) {
      const folder = join(store.store, String(100 + place), backup);
      await mkdir(folder, { recursive: true });
      await make(folder, store);
      await writeFile(join(folder, 'good.raw'), `good ${place}`);
    }
    const inRaw = join(store.store, '900', backup);
    await mkdir(inRaw, { recursive: true });
    await overlay(inRaw, '/etc/passwd', 'raw', 'inside.raw');
    await truncate(join(inRaw, 'inside.raw'), 2 ** 20);
    await store.mount();
  });
  afterAll(() => store.remove());

  it.each(
    hostile.map(([what], place) => [what, place] as const),
  )('%s: that disk alone is EIO, and is told of', async (_what, place) => {
    const folder = store.path(String(100 + place), time);
    const disks = await readdir(join(folder, 'disks'));
    expect(disks).toContain('bad.raw');
    await expect(readFile(join(folder, 'disks', 'bad.raw'))).rejects.toMatchObject({ code: 'EIO' });
    await expect(output('stat', join(folder, 'disks', 'bad.raw'))).rejects.toThrow(/Input\/output error/);
    expect(await readFile(join(folder, 'disks', 'good.raw'), 'utf8')).toBe(`good ${place}`);
    expect(await readFile(join(folder, 'PROBLEM.txt'), 'utf8')).toMatch(/bad/);
  });

  it('a qcow2 header inside a raw disk is what the guest wrote, no more', async () => {
    const stored = join(store.store, '900', backup, 'inside.raw');
    expect(await sha256(store.path('900', time, 'disks', 'inside.raw'))).toBe(await sha256(stored));
  });

  it('nothing of this has cost descriptors', async () => {
    const open = await readdir(`/proc/${store.pid}/fd`);
    expect(open.length).toBeLessThan(100);
  });
});

import { execFileSync } from 'node:child_process';
import { closeSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StoreFolder } from '../../../src/disks/store-folder.js';
import { nameFromText } from '../../../src/name.js';

describe("a store's folder", () => {
  let outside: string;
  let store: StoreFolder;

  beforeAll(async () => {
    outside = await mkdtemp(join(tmpdir(), 'stillfs-folder-'));
    const path = join(outside, 'store');
    await mkdir(join(path, 'guest'), { recursive: true });
    await writeFile(join(outside, 'secret'), 'secret');
    await writeFile(join(path, 'guest', 'disk'), 'disk');
    await symlink('/etc/passwd', join(path, 'guest', 'link'));
    await symlink('..', join(path, 'guest', 'up'));
    execFileSync('mkfifo', [join(path, 'guest', 'fifo')]);
    store = await StoreFolder.open(path);
  });
  afterAll(async () => {
    store.close();
    await rm(outside, { recursive: true });
  });

  const open = async (path: string): Promise<string> => {
    const descriptor = await store.openRegularFile(nameFromText(path));
    try {
      return readFileSync(descriptor, 'utf8');
    } finally {
      closeSync(descriptor);
    }
  };

  it('opens files beneath it, also by a path that leads up and down again within it', async () => {
    expect(await open('guest/disk')).toBe('disk');
    expect(await open('guest/../guest/disk')).toBe('disk');
  });

  it('does not lead out, neither by dots nor by an absolute path', async () => {
    await expect(open('../secret')).rejects.toMatchObject({ code: 'EXDEV' });
    await expect(open('guest/../../secret')).rejects.toMatchObject({ code: 'EXDEV' });
    await expect(open('/etc/passwd')).rejects.toMatchObject({ code: 'EXDEV' });
  });

  it('follows no link, wherever in the path it stands', async () => {
    await expect(open('guest/link')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(open('guest/up/guest/disk')).rejects.toMatchObject({ code: 'ELOOP' });
  });

  it('opens no fifo, which would wait for somebody to write', async () => {
    await expect(open('guest/fifo')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(open('guest')).rejects.toMatchObject({ code: 'EINVAL' });
  });
});

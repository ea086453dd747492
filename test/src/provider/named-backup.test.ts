import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { backupNamed } from '../../../src/provider/stored/named-backup.js';

describe('a backup that a person names', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'named-backup-'));
    for (const name of [
      '20241113T095719Z',
      'qemu-1731578239',
      '20241115T000000Z',
      '.backup-x',
      '20241116T000000Z.failed',
    ])
      await mkdir(join(folder, name));
    await writeFile(join(folder, '20241117T000000Z'), '');
  });

  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it.each([
    ['latest', '20241115T000000Z'],
    ['20241113T095719Z', '20241113T095719Z'],
    ['2024-11-13T09:57:19Z', '20241113T095719Z'],
    ['20241114T095719Z', 'qemu-1731578239'],
  ])('%s is found', async (wanted, found) => {
    expect(await backupNamed(folder, wanted)).toBe(found);
  });

  it.each(['20241113T095720Z', '20241117T000000Z', '.backup-x', '../x'])('%s is none', async (wanted) => {
    await expect(backupNamed(folder, wanted)).rejects.toMatchObject({
      code: 'ENOENT',
      message: `${folder} holds no backup ${wanted}; the latest is 20241115T000000Z`,
    });
  });

  it('is none of a guest without backups, or of no guest', async () => {
    await expect(backupNamed(join(folder, '.backup-x'), 'latest')).rejects.toThrow('holds no backup');
    await expect(backupNamed(join(folder, 'nobody'), 'latest')).rejects.toThrow(
      'the store has no such guest',
    );
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fuzzFat } from '../../../fuzz/fat.js';

it('gives bytes or an error that says why, whatever is damaged in a file system of FAT or exFAT', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
  try {
    const { opened, readWhole, findings } = await fuzzFat({ folder, seed: 5, count: 500 });
    expect(findings).toEqual([]);
    expect(opened).toBeGreaterThan(300);
    expect(readWhole).toBeGreaterThan(50);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 180_000);

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fuzzVolumes } from '../../fuzz/volumes.js';

it('gives volumes or a sentence that says why not, whatever is damaged in a table or in metadata of LVM', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
  try {
    const { withVolumes, readWhole, findings } = await fuzzVolumes({ folder, seed: 3, count: 500 });
    expect(findings).toEqual([]);
    expect(withVolumes).toBeGreaterThan(150);
    expect(readWhole).toBeGreaterThan(50);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 180_000);

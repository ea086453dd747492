import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fuzzSquashfs } from '../../../fuzz/squashfs.js';

it('gives bytes or an error that says why, whatever is damaged in an image', async () => {
  // Extended attributes of all kinds are to be had here.
  const folder = await mkdtemp(join('/dev/shm', 'stillfs-fuzz-'));
  try {
    const { opened, readWhole, findings } = await fuzzSquashfs({ folder, seed: 7, count: 500 });
    expect(findings).toEqual([]);
    expect(opened).toBeGreaterThan(100);
    expect(readWhole).toBeGreaterThan(30);
  } finally {
    await rm(folder, { recursive: true });
  }
});

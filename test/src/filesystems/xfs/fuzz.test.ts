import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fuzzXfs } from '../../../fuzz/xfs.js';

it('gives bytes or an error that says why, whatever is damaged in a file system', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
  try {
    const { opened, readWhole, findings } = await fuzzXfs({ folder, seed: 7, count: 500 });
    expect(findings).toEqual([]);
    expect(opened).toBeGreaterThan(200);
    expect(readWhole).toBeGreaterThan(30);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 180_000);

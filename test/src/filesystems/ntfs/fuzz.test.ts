import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fuzzNtfs } from '../../../fuzz/ntfs.js';

it('gives bytes or an error that says why, whatever is damaged in an NTFS volume', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
  try {
    const { opened, readWhole, findings } = await fuzzNtfs({ folder, seed: 7, count: 500 });
    expect(findings).toEqual([]);
    expect(opened).toBeGreaterThan(300);
    expect(readWhole).toBeGreaterThan(100);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 300_000);

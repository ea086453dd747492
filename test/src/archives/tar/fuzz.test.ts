import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fuzzTar } from '../../../fuzz/tar.js';

test('500 damaged archives give files or an error, in time, within memory', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
  try {
    const { shown, readWhole, findings } = await fuzzTar({ folder, seed: 1, count: 500 });
    expect(findings).toEqual([]);
    // A fuzzer that only makes what is refused at once would find nothing.
    expect(shown).toBeGreaterThan(300);
    expect(readWhole).toBeGreaterThan(100);
  } finally {
    await rm(folder, { recursive: true });
  }
});

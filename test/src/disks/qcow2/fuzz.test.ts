import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fuzzQcow2 } from '../../../fuzz/qcow2.js';

test('500 damaged images give bytes or an error, in time, within memory, and as QEMU reads them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
  try {
    const { opened, readWhole, alike, findings } = await fuzzQcow2({
      folder,
      seed: 1,
      count: 500,
      compareEach: 10,
    });
    expect(findings).toEqual([]);
    // A fuzzer that only makes what is refused at once would find nothing.
    expect(opened).toBeGreaterThan(150);
    expect(readWhole).toBeGreaterThan(50);
    expect(alike).toBeGreaterThan(5);
  } finally {
    await rm(folder, { recursive: true });
  }
});

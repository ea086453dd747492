import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { fuzzQcow2 } from './qcow2.js';

/** Cases of one seed: between two seeds the folder is made anew and progress is told. */
const batch = 500;

function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('a whole number above 0');
  return value;
}

const { cases, seed } = new Command('fuzz')
  .description('Damages valid images and reads what comes of it. Ends with 1 when something was found.')
  .option('--cases <number>', 'how many damaged images', count, 15_000)
  .option('--seed <number>', 'the first seed; each 500 cases have one', count, 1)
  .parse()
  .opts<{ cases: number; seed: number }>();

let found = 0;
for (let done = 0; done < cases; done += batch) {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
  try {
    const result = await fuzzQcow2({
      folder,
      seed: seed + done / batch,
      count: Math.min(batch, cases - done),
      compareEach: 10,
    });
    for (const finding of result.findings) console.log(`FOUND ${finding}`);
    found += result.findings.length;
    console.log(
      `qcow2: ${Math.min(done + batch, cases)} of ${cases} cases; of the last, ${result.opened} opened, ${result.readWhole} read whole, ${result.alike} as QEMU reads them; ${found} findings`,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}
process.exitCode = found === 0 ? 0 : 1;

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { fuzzExt } from './ext.js';
import { fuzzFat } from './fat.js';
import type { Fuzzing } from './fuzzing.js';
import { fuzzNtfs } from './ntfs.js';
import { fuzzQcow2 } from './qcow2.js';
import { fuzzSquashfs } from './squashfs.js';
import { fuzzTar } from './tar.js';
import { fuzzVolumes } from './volumes.js';
import { fuzzXfs } from './xfs.js';

/** Cases of one seed: between two seeds the folder is made anew and progress is told. */
const batch = 500;

interface Outcome {
  readonly findings: readonly string[];
  /** What became of the cases, as a sentence has it. */
  readonly told: string;
}

/** What is damaged, by name: each makes valid files of its kind, damages them, and reads what comes of it. */
const kinds: Readonly<Record<string, (given: Fuzzing) => Promise<Outcome>>> = {
  qcow2: async (given) => {
    const { findings, opened, readWhole, alike } = await fuzzQcow2({ ...given, compareEach: 10 });
    return { findings, told: `${opened} opened, ${readWhole} read whole, ${alike} as QEMU reads them` };
  },
  tar: async (given) => {
    const { findings, shown, readWhole } = await fuzzTar(given);
    return { findings, told: `${shown} showed files, ${readWhole} read whole` };
  },
  squashfs: async (given) => {
    const { findings, opened, readWhole } = await fuzzSquashfs(given);
    return { findings, told: `${opened} opened, ${readWhole} read whole` };
  },
  ext: async (given) => {
    const { findings, opened, readWhole } = await fuzzExt(given);
    return { findings, told: `${opened} opened, ${readWhole} read whole` };
  },
  xfs: async (given) => {
    const { findings, opened, readWhole } = await fuzzXfs(given);
    return { findings, told: `${opened} opened, ${readWhole} read whole` };
  },
  ntfs: async (given) => {
    const { findings, opened, readWhole } = await fuzzNtfs(given);
    return { findings, told: `${opened} opened, ${readWhole} read whole` };
  },
  fat: async (given) => {
    const { findings, opened, readWhole } = await fuzzFat(given);
    return { findings, told: `${opened} opened, ${readWhole} read whole` };
  },
  volumes: async (given) => {
    const { findings, withVolumes, readWhole } = await fuzzVolumes(given);
    return { findings, told: `${withVolumes} showed volumes, ${readWhole} read whole` };
  },
};

function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('a whole number above 0');
  return value;
}

const { cases, seed, only } = new Command('fuzz')
  .description(
    'Damages valid images and archives and reads what comes of it. Ends with 1 when something was found.',
  )
  .option('--cases <number>', 'how many damaged files of each kind', count, 15_000)
  .option('--seed <number>', 'the first seed; each 500 cases have one', count, 1)
  .addOption(new Option('--only <kind>', 'one kind alone').choices(Object.keys(kinds)))
  .parse()
  .opts<{ cases: number; seed: number; only?: string }>();

let found = 0;
for (const [kind, fuzz] of Object.entries(kinds)) {
  if (only !== undefined && only !== kind) continue;
  let foundHere = 0;
  for (let done = 0; done < cases; done += batch) {
    const folder = await mkdtemp(join(tmpdir(), 'stillfs-fuzz-'));
    try {
      const given = { folder, seed: seed + done / batch, count: Math.min(batch, cases - done) };
      const { findings, told } = await fuzz(given);
      for (const finding of findings) console.log(`FOUND ${finding}`);
      foundHere += findings.length;
      const after = Math.min(done + batch, cases);
      console.log(`${kind}: ${after} of ${cases} cases; of the last, ${told}; ${foundHere} findings`);
    } finally {
      await rm(folder, { recursive: true });
    }
  }
  found += foundHere;
}
process.exitCode = found === 0 ? 0 : 1;

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { archiveReads } from './archive-reads.js';
import { diskReads } from './disk-reads.js';
import { fileSystemReads } from './file-system-reads.js';
import { folderReads } from './folder-reads.js';
import { liveReads } from './live-reads.js';
import { mountTimes } from './mount-time.js';
import { incrementsBySize } from './provider-growth.js';
import { providerTimes } from './provider-times.js';
import { machine, type Report, type Row, rowAsText } from './report.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    json: { type: 'string', default: 'bench.json' },
    short: { type: 'boolean', default: false },
    only: { type: 'string' },
  },
});
const rounds = Number(values.rounds);
const report: Report = { machine: machine(), node: process.version, rounds, rows: [] };
const folder = await mkdtemp(join(tmpdir(), 'stillfs-bench-'));
try {
  process.stdout.write(`${report.machine}, Node ${report.node}, medians of ${rounds}\n\n`);
  const parts = {
    disks: () => diskReads(folder, values.short ? 128 : 1024, rounds),
    live: () => liveReads(values.short ? 128 : 1024, rounds),
    provider: async function* (): AsyncGenerator<Row> {
      yield* providerTimes(folder, values.short ? 512 : 8192, rounds);
      yield await incrementsBySize(values.short ? 8 : 80, rounds);
    },
    folders: () => folderReads(folder, values.short ? 5_000 : 100_000, rounds),
    archives: () =>
      archiveReads(
        folder,
        values.short
          ? { files: 5_000, read: 1_000, members: 20_000 }
          : { files: 100_000, read: 20_000, members: 1_000_000 },
        rounds,
      ),
    'file-systems': () => fileSystemReads(folder, values.short ? 5_000 : 100_000, rounds),
    mounting: async () => [
      await mountTimes(folder, values.short ? [100, 1000] : [100, 1000, 10_000], rounds),
    ],
  };
  for (const [name, part] of Object.entries(parts)) {
    if (values.only !== undefined && values.only !== name) continue;
    for await (const row of await part()) {
      report.rows.push(row);
      process.stdout.write(`${rowAsText(row)}\n\n`);
    }
  }
  await writeFile(values.json, `${JSON.stringify(report, undefined, 2)}\n`);
  process.stdout.write(`written to ${values.json}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

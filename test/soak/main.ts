import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { MountedGuest } from '../e2e/mounted-guest.js';
import { writeMarked } from '../machine/known-writes.js';

// Snapshots of one guest in a loop, while it writes: success, failure and no outcome by turns, whole and incremental.

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '15' } } });
const minutes = Number(values.minutes);
/** What is used for the first time is not growth. */
const warmUpRounds = 10;
const mostGrowthKibibytes = 40 * 1024;
const size = 64 * 2 ** 20;
const granule = 65_536;

const guest = await MountedGuest.make({
  disks: [
    { id: 'a', bytes: size, iothread: true },
    { id: 'b', bytes: size, format: 'qcow2', iothread: true },
  ],
});
let failed = false;
const fail = (what: string): void => {
  failed = true;
  process.stdout.write(`FAILED: ${what}\n`);
};

interface Usage {
  readonly residentKibibytes: number;
  readonly descriptors: number;
  readonly nodes: number;
  readonly qemuDescriptors: number;
}

async function usage(): Promise<Usage> {
  const status = await readFile(`/proc/${guest.pid}/status`, 'utf8');
  const nodes = await guest.machine.qmp('query-named-block-nodes', { flat: true });
  return {
    residentKibibytes: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]),
    descriptors: (await readdir(`/proc/${guest.pid}/fd`)).length,
    nodes: Array.isArray(nodes) ? nodes.length : Number.NaN,
    qemuDescriptors: (await readdir(`/proc/${guest.machine.pid}/fd`)).length,
  };
}

const line = (round: number, now: Usage): string =>
  `round ${round}: ${Math.round(now.residentKibibytes / 1024)} MiB, ${now.descriptors} descriptors; QEMU: ${now.nodes} nodes, ${now.qemuDescriptors} descriptors\n`;

try {
  await guest.mount();
  const end = Date.now() + minutes * 60_000;
  let first: Usage | undefined;
  let written = new Set<number>();
  let round = 0;
  for (; Date.now() < end && !failed; round++) {
    const name = `soak@${round}`;
    const before = createHash('sha256')
      .update(await readFile(guest.image('a')))
      .digest('hex');
    const facts = await guest.take(name);
    const place = ((round * 7) % (size / granule)) * granule;
    await writeMarked(guest.machine, 'a', place, 4096, `round ${round}`);
    const shown = createHash('sha256')
      .update(await readFile(guest.path(name, 'disks', 'a.raw')))
      .digest('hex');
    if (shown !== before) fail(`round ${round}: the snapshot is not the disk at its instant`);
    if (facts.disks[0]?.mode === 'reuse') {
      const dirty = (await guest.dirty(name, 'a')).flatMap(({ offset, length }) =>
        Array.from({ length: length / granule }, (_, index) => offset + index * granule),
      );
      if (dirty.sort((x, y) => x - y).join() !== [...written].sort((x, y) => x - y).join())
        fail(`round ${round}: the map has ${dirty.length} granules, ${written.size} were written`);
    }
    const outcome = (['success', 'failure', undefined] as const)[round % 3];
    await guest.finish(name, outcome);
    if (outcome === 'success') written = new Set();
    written.add(place);
    const now = await usage();
    if (round === warmUpRounds) first = now;
    if (round % 25 === 0) process.stdout.write(line(round, now));
    if (!first) continue;
    if (now.residentKibibytes > first.residentKibibytes + mostGrowthKibibytes)
      fail(`memory grows: ${line(round, now)}`);
    if (now.descriptors > first.descriptors + 2) fail(`descriptors grow: ${line(round, now)}`);
    if (now.nodes !== first.nodes) fail(`QEMU's nodes grow: ${line(round, now)}`);
    if (now.qemuDescriptors > first.qemuDescriptors + 2) fail(`QEMU's descriptors grow: ${line(round, now)}`);
  }
  process.stdout.write(`${round} snapshots in ${minutes} minutes: ${failed ? 'failed' : 'nothing grew'}\n`);
} finally {
  await guest.remove();
}
process.exitCode = failed ? 1 : 0;

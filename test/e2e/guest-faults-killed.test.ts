import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultTable } from '../faults/fault-table.js';
import { KnownGuest } from '../faults/known-guest.js';

const mebibyte = 1024 * 1024;
const full = process.env.STILLFS_FULL !== undefined;
/** Every so many steps are tried, each of them with STILLFS_FULL. */
const stride = full ? 1 : 24;
/** One test tries many steps: milliseconds. */
const patience = { timeout: full ? 1_200_000 : 120_000 };

type Who = 'keeper' | 'daemon' | 'both' | 'itself';

/** Takes a snapshot and ends it as a success, while somebody is killed: gives what the kill was, if it came to it. */
async function killed(guest: KnownGuest, orders: string): Promise<string> {
  await writeFile(guest.killOrders, orders);
  try {
    await guest.write();
    await guest.take();
    await guest.write();
    await guest.say('success');
    await guest.end();
  } catch {
    // Whoever is served by what is killed gets an error; what matters is what there is afterwards.
  }
  const done = existsSync(`${guest.killOrders}.killed`)
    ? await readFile(`${guest.killOrders}.killed`, 'utf8')
    : '';
  await rm(guest.killOrders, { force: true });
  return done.trim().replaceAll('\n', ', then ');
}

/** Resolves when somebody was killed. */
async function somebodyKilled(guest: KnownGuest): Promise<void> {
  await expect
    .poll(() => existsSync(`${guest.killOrders}.killed`), { timeout: 60_000, interval: 10 })
    .toBe(true);
}

async function survive(
  table: FaultTable,
  guest: KnownGuest,
  who: Who,
  step: number,
  ...later: string[]
): Promise<void> {
  const orders = [`${who} ${step}`, ...later].join('\n');
  await table.during(
    `kill -9, ${orders.trim().replaceAll('\n', ', then ')}`,
    async () => {
      await rm(`${guest.killOrders}.killed`, { force: true });
      // Nobody but the next daemon can let the guest go on where there is nobody left.
      const alone = somebodyKilled(guest).then(async () => {
        if (who !== 'keeper') await guest.detach();
        return who === 'both' ? undefined : guest.runs();
      });
      alone.catch(() => undefined);
      const kill = await killed(guest, orders);
      expect(kill, 'the order was carried out').not.toBe('');
      const milliseconds = await alone;
      if (who !== 'keeper') await guest.mount();
      await guest.runs();
      await guest.expectAllRight();
      return `right: ${kill}${milliseconds === undefined ? '' : `; the guest ran ${milliseconds} ms later`}`;
    },
    () => `${guest.mounted.log}${guest.machine.errors}`,
  );
}

const title = 'Somebody is killed while a snapshot is taken or ended';

describe.each([
  { disks: 'a raw disk with an I/O thread and a qcow2 disk', iothread: true, who: ['keeper', 'daemon'] },
  // With nobody left to hold the sockets QEMU 7.2 aborts where there is an I/O thread.
  { disks: 'a raw and a qcow2 disk', iothread: false, who: ['both'] },
] as const)('somebody is killed while a snapshot of $disks is taken or ended', ({ disks, iothread, who }) => {
  const table = new FaultTable();
  let guest: KnownGuest;
  let steps: readonly string[] = [];

  beforeAll(async () => {
    guest = await KnownGuest.make([
      { id: 'a', bytes: 4 * mebibyte, iothread },
      { id: 'b', bytes: 4 * mebibyte, format: 'qcow2' },
    ]);
    await guest.mount();
  });
  afterAll(async () => {
    table.print(`${title}: ${disks}`);
    await guest?.remove();
  });

  it('leaves nothing behind where nobody is killed', async () => {
    await guest.expectAllRight();
    await rm(`${guest.killOrders}.steps`);
    await guest.expectAllRight();
    steps = (await readFile(`${guest.killOrders}.steps`, 'utf8')).trim().split('\n');
    table.note('the steps', `${steps.length}: ${steps.join(', ')}`);
  });

  it.each(who)('lets the guest go on, and its chain be exact: %s', patience, async (whom) => {
    const first = { keeper: 1, daemon: 1 + Math.floor(stride / 2), both: 1 + Math.floor(stride / 3) }[whom];
    for (let step = first; step <= steps.length; step += stride) await survive(table, guest, whom, step);
  });

  if (!iothread) return;

  it('does so where the keeper that mends is killed too', patience, async () => {
    const stopped = steps.indexOf('transaction') + 1;
    for (let step = 1; step <= 25; step += stride)
      await survive(table, guest, 'keeper', stopped, `keeper ${step}`);
  });

  it('does so where the daemon is killed as it writes down what it does', async () => {
    // First the record, then the outcome; counted from its start.
    for (const step of [1, 2]) {
      await guest.mount();
      await survive(table, guest, 'itself', step);
    }
  });
});

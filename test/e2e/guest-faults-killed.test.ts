import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultTable } from '../faults/fault-table.js';
import { KnownGuest } from '../faults/known-guest.js';

const mebibyte = 1024 * 1024;
const table = new FaultTable();
/** Every so many steps are tried, each of them with STILLFS_FULL. */
const stride = process.env.STILLFS_FULL ? 1 : 9;

type Who = 'keeper' | 'daemon' | 'both' | 'itself';

/** Takes a snapshot and ends it as a success, while somebody is killed: gives what the kill was, if it came to it. */
async function killed(guest: KnownGuest, orders: string): Promise<string> {
  await rm(`${guest.killOrders}.killed`, { force: true });
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

async function survive(guest: KnownGuest, who: Who, orders: string): Promise<string> {
  return table.during(`kill -9, ${orders.trim().replaceAll('\n', ', then ')}`, async () => {
    const kill = await killed(guest, orders);
    expect(kill, 'the order was carried out').not.toBe('');
    // With nobody left it is the next daemon who lets the guest go on.
    const alone = who === 'both' ? undefined : await guest.runs();
    if (who !== 'keeper') await guest.mount();
    await guest.runs();
    await guest.expectAllRight();
    return `right: ${kill}${alone === undefined ? '' : `; the guest ran ${alone} ms later`}`;
  });
}

describe('somebody is killed while a snapshot is taken or ended', () => {
  let guest: KnownGuest;
  let steps: readonly string[] = [];

  beforeAll(async () => {
    guest = await KnownGuest.make([
      { id: 'a', bytes: 4 * mebibyte, iothread: true },
      { id: 'b', bytes: 4 * mebibyte, format: 'qcow2' },
    ]);
    await guest.mount();
  });
  afterAll(async () => {
    table.print(
      'Somebody is killed while a snapshot is taken or ended; a raw disk with an I/O thread, and a qcow2 disk',
    );
    await guest?.remove();
  });

  it('leaves nothing behind where nobody is killed', async () => {
    await guest.expectAllRight();
    await rm(`${guest.killOrders}.steps`);
    await guest.expectAllRight();
    steps = (await readFile(`${guest.killOrders}.steps`, 'utf8')).trim().split('\n');
    table.note('steps of a snapshot', `${steps.length}: ${steps.join(', ')}`);
  });

  for (const who of ['keeper', 'daemon'] as const) {
    it(`lets the guest go on, and its chain be exact, where the ${who} is killed`, async () => {
      const first = who === 'keeper' ? 1 : 1 + Math.floor(stride / 2);
      for (let step = first; step <= steps.length; step += stride)
        await survive(guest, who, `${who} ${step}\n`);
    }, 1_200_000);
  }
});

import { afterAll, beforeAll, it } from 'vitest';
import { FaultTable } from './fault-table.js';
import { KnownGuest } from './known-guest.js';

const mebibyte = 1024 * 1024;
const full = process.env.STILLFS_FULL !== undefined;

/** A fault, and what does it. `rare`: only the long form of the tests has it. */
type DeclareFault = (
  fault: string,
  work: (guest: KnownGuest) => Promise<unknown>,
  when?: { readonly rare: boolean },
) => void;

/**
 * One guest for a group of tests: each tells a fault and does it, and must leave the guest as `expectAllRight` has it. A table of
 * them is printed at the end.
 */
export function faultsOfGuest(title: string): DeclareFault {
  const table = new FaultTable();
  let known: KnownGuest | undefined;

  beforeAll(async () => {
    known = await KnownGuest.make([
      { id: 'a', bytes: 4 * mebibyte, iothread: true },
      { id: 'b', bytes: 4 * mebibyte, format: 'qcow2' },
    ]);
    await known.mount();
  });
  afterAll(async () => {
    table.print(`${title}; a raw disk with an I/O thread, and a qcow2 disk`);
    await known?.remove();
  });

  return (fault, work, when) => {
    if (when?.rare && !full) return;
    it(fault, async () => {
      const guest = known;
      if (!guest) throw new Error('the guest was not booted');
      const tried = async (): Promise<void> => {
        await work(guest);
        await guest.expectAllRight();
      };
      await table.during(fault, tried, () => `${guest.mounted.log}${guest.machine.errors}`);
    });
  };
}

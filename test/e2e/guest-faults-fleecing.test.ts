import { execFile } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { faultsOfGuest } from '../faults/faults-of-guest.js';
import { HangingServer } from '../faults/hanging-server.js';
import type { KnownGuest } from '../faults/known-guest.js';
import { marked, writeMarked } from '../machine/known-writes.js';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;

/** Has the guest write to the first 3 MiB of a disk. */
async function writeMuch(guest: KnownGuest, mark: string): Promise<void> {
  await writeMarked(guest.machine, 'a', 0, 3 * mebibyte, mark);
  guest.wrote('a', 0, marked(mark, 3 * mebibyte));
}

async function withHangingServer(
  guest: KnownGuest,
  work: (server: HangingServer) => Promise<void>,
): Promise<void> {
  const folder = join(guest.mounted.folder, 'server');
  const server = await HangingServer.start(folder);
  try {
    await guest.mount([`fleecing=${server.mountpoint}`, 'copyTimeout=3']);
    await work(server);
  } finally {
    await server.remove();
    await rm(folder, { recursive: true });
  }
  await guest.mount();
}

describe('what the guest overwrites can not be kept', () => {
  const fault = faultsOfGuest('Fleecing');

  fault('fleecing takes more than its limit', async (guest) => {
    await guest.mount(['fleecingLimit=1M']);
    await guest.take();
    await writeMuch(guest, 'big');
    expect(await guest.brokenBy()).toMatch(/more than the limit/);
    await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
    await guest.end();
    await guest.mount();
  });

  fault('the fleecing folder is full', async (guest) => {
    const small = join(guest.mounted.folder, 'small');
    await mkdir(small);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
    try {
      await guest.mount([`fleecing=${small}`]);
      await guest.take();
      await writeMuch(guest, 'full');
      await guest.runs();
      await expect(guest.readFirst()).rejects.toMatchObject({ code: 'EIO' });
      await guest.brokenBy();
      await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
      await guest.end();
      await guest.expectNothingLeft();
      await guest.mount();
    } finally {
      await run('umount', [small]);
    }
  });

  for (const [end, goesOn] of [
    ['goes on', (server: HangingServer) => server.goOn()],
    ['is given up (umount -f)', (server: HangingServer) => server.giveUp()],
  ] as const) {
    fault(`the fleecing folder is on a server that hangs (SIGSTOP) and ${end}`, (guest) =>
      withHangingServer(guest, async (server) => {
        await guest.take();
        await guest.write();
        server.hang();
        // The first waits for the server, and then none does: the snapshot breaks, not the guest.
        await guest.write('a');
        await guest.write('a');
        await expect(guest.readFirst()).rejects.toMatchObject({ code: 'EIO' });
        expect(await guest.brokenBy()).toContain(`the fleecing folder ${server.mountpoint} does not answer`);
        await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
        // Neither who looks nor who ends has the guest wait.
        const description = join(guest.mounted.mountpoint, 'guests', '100', 'guest.json');
        expect(JSON.parse(await readFile(description, 'utf8'))).toMatchObject({ state: 'unknown' });
        await expect(guest.end()).rejects.toMatchObject({ code: 'EIO' });
        await expect(guest.take()).rejects.toMatchObject({ code: 'EBUSY' });
        await guest.write();
        await guest.runs();
        await goesOn(server);
        await guest.expectNothingLeft();
        // Neither QEMU nor stillfs has anything open there.
        await server.unmount();
      }),
    );
  }

  fault('the server of the fleecing folder hangs before', (guest) =>
    withHangingServer(guest, async (server) => {
      server.hang();
      await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      await guest.runs();
    }),
  );
});

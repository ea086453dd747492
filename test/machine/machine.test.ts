import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandSocket } from './command-socket.js';
import { CountingWriter, countIn, countLength } from './counting-writer.js';
import { guestImage } from './guest-image.js';
import { marked, writeMarked } from './known-writes.js';
import { devicePath, Machine, type MachineOptions } from './machine.js';
import { type MachineDisk, makeDisk } from './machine-disk.js';

const execute = promisify(execFile);
const mebibyte = 1024 * 1024;
const diskBytes = 16 * mebibyte;

let folder: string;
let machine: Machine | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-machine-test-'));
});
afterEach(async () => {
  await machine?.remove();
  machine = undefined;
  await rm(folder, { recursive: true });
});

async function start(options: MachineOptions, made: { filesystem?: 'ext4' } = {}): Promise<Machine> {
  for (const { file, format } of options.disks ?? [])
    await makeDisk(file, diskBytes, { format: format ?? 'raw', ...made });
  machine = await Machine.start(options);
  return machine;
}

function disk(id: string, how: Omit<MachineDisk, 'id' | 'file'> = {}): MachineDisk {
  return { id, file: join(folder, id), ...how };
}

describe('a machine', () => {
  it('stands before its first instruction until it is told to run, then runs commands side by side', async () => {
    const started = await start({ running: false, agent: false });
    const run = (line: string): ReturnType<Machine['run']> => started.run(line);
    expect(await started.qmp('query-status')).toMatchObject({ status: 'prelaunch' });
    await started.resume();
    expect(await run('uname; echo problem >&2; exit 3')).toEqual({ output: 'Linux\nproblem\n', status: 3 });
    expect(await run('printf "1 0 5\\nä"')).toEqual({ output: '1 0 5\nä', status: 0 });
    expect((await run('seq 100000')).output).toHaveLength(588_895);
    const waiting = run('until [ -e /run/go ]; do usleep 1000; done; echo went');
    expect(await run('touch /run/go')).toEqual({ output: '', status: 0 });
    expect(await waiting).toEqual({ output: 'went\n', status: 0 });
  });

  it('freezes file systems by its agent, and switches itself off with all that it has written on its disks', async () => {
    const data = disk('data', { format: 'qcow2' });
    const started = await start({ disks: [data] }, { filesystem: 'ext4' });
    await started.output('mkdir /run/mnt/data && mount /dev/disk/data /run/mnt/data');
    await started.output('truncate -s 4M /run/image && mkfs.ext4 -q /run/image');
    const agent = await CommandSocket.agent(started.agentPath);
    try {
      await agent.execute('guest-ping');
      expect(await agent.execute('guest-fsfreeze-freeze')).toBe(1);
      const write = started.run('echo kept >/run/mnt/data/file');
      // The write waits in the kernel until the thaw.
      await started.output("until grep -q '^State:.*D ' /proc/[0-9]*/status; do usleep 1000; done");
      expect(await agent.execute('guest-fsfreeze-status')).toBe('frozen');
      expect(await agent.execute('guest-fsfreeze-thaw')).toBe(1);
      expect((await write).status).toBe(0);
    } finally {
      agent.close();
    }
    expect(await started.powerdown()).toEqual({ code: 0, signal: null, errors: '' });
    expect(started.monitor.events.map(({ event }) => event)).toContain('SHUTDOWN');
    await expect(started.run('true')).rejects.toThrow('the guest has ended');
    await contents(data);
    expect((await execute('debugfs', ['-R', 'cat file', `${data.file}.raw`])).stdout).toBe('kept\n');
  });

  const kinds: ReadonlyArray<readonly [string, ReadonlyArray<Omit<MachineDisk, 'id' | 'file'>>]> = [
    ['-blockdev, virtio-blk and NVMe', [{ iothread: true }, { format: 'qcow2' }, { bus: 'nvme' }]],
    [
      '-drive, virtio-scsi and IDE',
      [
        { way: 'drive', bus: 'virtio-scsi', iothread: true, format: 'qcow2' },
        { way: 'drive', bus: 'virtio-scsi' },
        { way: 'drive', bus: 'ide' },
      ],
    ],
  ];
  it.each(kinds)('writes just what it was told to: %s', async (_name, kind) => {
    const these = kind.map((how, place) => disk(`disk${place}`, how));
    const started = await start({ disks: these });
    for (const [place, { id }] of these.entries()) {
      await writeMarked(started, id, (3 + place) * 65536, 3 * 512, id);
      await writeMarked(started, id, 8 * mebibyte, mebibyte + 4096, 'long');
    }
    expect(await started.quit()).toEqual({ code: 0, signal: null, errors: '' });
    for (const [place, written] of these.entries()) {
      const expected = Buffer.alloc(diskBytes);
      marked(written.id, 3 * 512).copy(expected, (3 + place) * 65536);
      marked('long', mebibyte + 4096).copy(expected, 8 * mebibyte);
      expect((await contents(written)).equals(expected), written.id).toBe(true);
    }
  });

  it('counts on two disks, never more than one apart', async () => {
    const pair = [disk('left', { iothread: true }), disk('right', { iothread: true })] as const;
    const started = await start({ disks: pair, agent: false });
    const writer = await CountingWriter.start(started, [devicePath('left'), devicePath('right')]);
    const seen: number[] = [];
    for (let round = 1; round <= 5; round++) {
      await writer.reach(round * 3);
      await started.pause();
      const [left, right] = await Promise.all(pair.map(({ file }) => countAtStart(file)));
      await started.resume();
      seen.push((left ?? Number.NaN) - (right ?? Number.NaN));
      expect(right).toBeGreaterThanOrEqual(round * 3);
    }
    expect(seen.every((ahead) => ahead === 0 || ahead === 1)).toBe(true);
    const last = await writer.stop();
    expect(await Promise.all(pair.map(({ file }) => countAtStart(file)))).toEqual([last, last]);
  });

  it('leaves nothing when it is killed', async () => {
    const started = await start({ running: false });
    expect(existsSync(started.qmpPath) && existsSync(started.agentPath)).toBe(true);
    expect(await started.kill()).toMatchObject({ signal: 'SIGKILL' });
    await started.remove();
    expect([existsSync(`/proc/${started.pid}`), existsSync(started.folder)]).toEqual([false, false]);
  });

  it("tells in QEMU's words why it could not start", async () => {
    await expect(start({ qemuArguments: ['-device', 'no-such-thing'] })).rejects.toThrow(
      /ended too early \(1\).*'no-such-thing' is not a valid device/s,
    );
  });
});

describe('the image of the guest', () => {
  it('is built once', async () => {
    const { initramfs } = await guestImage();
    const first = await readFile(initramfs);
    expect((await guestImage()).initramfs).toBe(initramfs);
    expect(first.length).toBeGreaterThan(mebibyte);
  });
});

/** The whole disk, as the guest saw it. */
async function contents({ file, format = 'raw' }: MachineDisk): Promise<Buffer> {
  await execute('qemu-img', ['convert', '-f', format, '-O', 'raw', file, `${file}.raw`]);
  return readFile(`${file}.raw`);
}

async function countAtStart(file: string): Promise<number> {
  const handle = await open(file);
  try {
    const { buffer } = await handle.read(Buffer.alloc(countLength), 0, countLength, 0);
    return countIn(buffer);
  } finally {
    await handle.close();
  }
}

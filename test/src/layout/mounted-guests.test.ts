import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MountedGuests } from './mounted-guests.js';

let mounted: MountedGuests;
let scratch: string;

/** What a shell's line writes; `1` is a snapshot's folder, `2` the folder above, `3` one to write to. Fails as the line does. */
async function sh(line: string): Promise<string> {
  const above = mounted.path('100', 'snapshots');
  const words = ['-ec', line, 'sh', snapshot(), above, scratch];
  const { stdout } = await execa('sh', words, { env: { LC_ALL: 'C' } });
  return stdout;
}

const snapshot = (...names: string[]): string => mounted.path('100', 'snapshots', 'daily@monday', ...names);

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'stillfs-guests-'));
});
afterAll(() => rm(scratch, { recursive: true }));

describe.each(['kernel', 'fuse-native'] as const)('guests mounted over %s', (transport) => {
  beforeAll(async () => {
    mounted = await MountedGuests.start(transport);
  });
  const waiting: Array<Promise<unknown>> = [];
  afterAll(async () => {
    await mounted.stop();
    await Promise.all(waiting);
  });
  afterEach(() => mounted.endSnapshots());

  it('mkdir takes a snapshot, ls and cat show it, rmdir ends it', async () => {
    expect(await sh('mkdir "$1"; ls "$1"')).toBe(
      'changes\ndisks\nfiles\nguest.conf\noutcome\nrootfs\nsnapshot.json\nvolumes.json',
    );
    expect(await sh('cat "$1/guest.conf" "$1/outcome"')).toBe('cores: 2\npending');
    expect(JSON.parse(await sh('cat "$1/snapshot.json"'))).toMatchObject({ name: 'daily@monday' });
    expect(await sh('rmdir "$1"; ls "$2"')).toBe('');
  });

  it('echo says the outcome, and is told that it said nonsense', async () => {
    await sh('mkdir "$1"; echo success > "$1/outcome"');
    expect(await sh('cat "$1/outcome"')).toBe('success');
    expect(JSON.parse(await readFile(snapshot('snapshot.json'), 'utf8'))).toMatchObject({
      outcome: 'success',
    });
    await expect(sh('/bin/echo maybe > "$1/outcome"')).rejects.toThrow('Invalid argument');
    await expect(sh('/bin/echo failure >> "$1/outcome"')).rejects.toThrow('Invalid argument');
    expect(await sh('printf failure > "$1/outcome"; cat "$1/outcome"')).toBe('failure');
  });

  it('cp copies the disk and its maps whole, and the copy is as sparse', async () => {
    await sh(
      'mkdir "$1"; cp -r "$1/disks" "$3/copy"; cmp "$1/disks/drive-scsi0.raw" "$3/copy/drive-scsi0.raw"',
    );
    const rows: unknown = JSON.parse(await readFile(join(scratch, 'copy/drive-scsi0.dirty.json'), 'utf8'));
    expect(rows).toHaveLength(3);
    await rm(join(scratch, 'copy'), { recursive: true });
  });

  it('rmdir works though a file is open; a name that is used again is another snapshot', async () => {
    await sh('mkdir "$1"');
    const first = await sh('cat "$1/snapshot.json"');
    const file = await open(snapshot('disks', 'drive-scsi0.raw'));
    try {
      expect((await file.read(Buffer.alloc(4096), 0, 4096, 0)).bytesRead).toBe(4096);
      const inode = (await file.stat()).ino;
      await sh('rmdir "$1"; mkdir "$1"');
      // Over libfuse 2 the path is what is open, and leads to the new snapshot's.
      const reading = file.read(Buffer.alloc(4096), 0, 4096, 4096);
      if (transport === 'kernel') {
        await expect(reading).rejects.toMatchObject({ code: 'EIO' });
        expect(Number(await sh('stat -c %i "$1/disks/drive-scsi0.raw"'))).not.toBe(inode);
      } else {
        await reading.catch(() => undefined);
      }
    } finally {
      await file.close();
    }
    expect(await sh('cat "$1/snapshot.json"')).not.toBe(first);
    expect(await sh('cat "$1/outcome"')).toBe('pending');
  });

  it('names and places that can not be are refused', async () => {
    await expect(sh('mkdir "$1@c"')).rejects.toThrow('Invalid argument');
    await expect(sh('mkdir "$2/../other"')).rejects.toThrow('Read-only file system');
    await sh('mkdir "$1"');
    await expect(sh('mkdir "$1"')).rejects.toThrow('File exists');
    await expect(sh('rmdir "$1/disks"')).rejects.toThrow('Read-only file system');
    await expect(sh('rm -f "$1/guest.conf"')).rejects.toThrow();
    for (const line of ['truncate -s 0 "$1/disks/drive-scsi0.raw"', 'echo > "$1/disks/drive-scsi0.raw"']) {
      await expect(sh(line)).rejects.toThrow('Read-only file system');
    }
    expect(await sh('stat -c "%s %a" "$1/disks/drive-scsi0.raw"')).toBe('197608 600');
  });

  it('a guest that never answers holds up nobody but who asks it', async () => {
    const asking = new AbortController();
    const answer = execa('cat', [mounted.path('101', 'guest.json')], {
      cancelSignal: asking.signal,
      reject: false,
    });
    expect(await sh('ls "$2/../.."; mkdir "$1"; cat "$1/outcome"')).toBe('100\n101\n102\npending');
    // libfuse 2 has one look-up at a time in a folder.
    if (transport === 'kernel') expect(await sh('ls "$2/../../101/snapshots"')).toBe('');
    expect(await readFile(mounted.path('100', 'guest.json'), 'utf8')).toContain('running');
    asking.abort();
    // Over libfuse 2 a wait can't be interrupted: it ends with the mount.
    if (transport === 'kernel') expect((await answer).isCanceled).toBe(true);
    else waiting.push(answer);
  });
});

describe('what only the kernel transport can do for guests', () => {
  beforeAll(async () => {
    mounted = await MountedGuests.start('kernel');
  });
  afterAll(() => mounted.stop());
  afterEach(() => mounted.endSnapshots());

  it('fallocate gives back what was copied: it can not be read then, and is no hole', async () => {
    await sh('mkdir "$1"');
    const blocks = await sh('stat -c %b "$1/disks/drive-scsi0.raw"');
    expect(blocks).toBe('258');
    await sh('fallocate --punch-hole --offset 131072 --length 65536 "$1/disks/drive-scsi0.raw"');
    const read = (block: number): string =>
      `dd if="$1/disks/drive-scsi0.raw" of=/dev/null bs=4096 count=1 skip=${block}`;
    await expect(sh(read(32))).rejects.toThrow('Input/output error');
    await sh(read(31));
    // The next block count is told within a second.
    let later = blocks;
    while (later === blocks) later = await sh('stat -c %b "$1/disks/drive-scsi0.raw"');
    expect(later).toBe('386');
    await expect(sh('fallocate --zero-range --length 4096 "$1/disks/drive-scsi0.raw"')).rejects.toThrow(
      'not supported',
    );
    await expect(sh('dd if=/dev/zero of="$1/disks/drive-scsi0.raw" conv=notrunc count=1')).rejects.toThrow(
      'Read-only file system',
    );
  });

  it('who has a text open reads it to its end, though it is a longer one now', async () => {
    await sh('mkdir "$1"');
    const file = await open(snapshot('snapshot.json'));
    try {
      await sh('echo success > "$1/outcome"');
      expect(JSON.parse(await file.readFile('utf8'))).toMatchObject({ outcome: 'pending' });
    } finally {
      await file.close();
    }
    expect(JSON.parse(await sh('cat "$1/snapshot.json"'))).toMatchObject({ outcome: 'success' });
  });

  it('a folder that was just made can be worked in', async () => {
    expect(await sh('mkdir "$1"; cd "$1"; ls > /dev/null; /bin/pwd; cat outcome')).toBe(
      `${snapshot()}\npending`,
    );
  });

  it('a mkdir that is interrupted leaves nothing', async () => {
    const leaving = new AbortController();
    const path = mounted.path('102', 'snapshots', 'never');
    const taking = mounted.said('taking');
    const making = execa('mkdir', [path], { cancelSignal: leaving.signal, reject: false });
    await taking;
    leaving.abort();
    await making;
    expect((await execa('ls', [mounted.path('102', 'snapshots')])).stdout).toBe('');
  });

  it('a snapshot that ends by itself is gone at once, with what was cached of it', async () => {
    await sh('mkdir "$1"; cat "$1/snapshot.json" "$1/disks/drive-scsi0.dirty.map"');
    const file = await open(snapshot('disks', 'drive-scsi0.raw'));
    await file.read(Buffer.alloc(4096), 0, 4096, 0);
    await mounted.endSnapshots();
    await expect(file.read(Buffer.alloc(4096), 0, 4096, 0)).rejects.toMatchObject({ code: 'EIO' });
    await file.close();
    expect(await sh('ls "$2"')).toBe('');
    await expect(readFile(snapshot('snapshot.json'))).rejects.toMatchObject({
      code: expect.stringMatching(/^E(NOENT|STALE)$/),
    });
  });
});

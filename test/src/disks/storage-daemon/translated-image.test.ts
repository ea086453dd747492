import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Disk } from '../../../../src/disks/disk.js';
import { openForeignImage } from '../../../../src/disks/foreign/foreign-image.js';
import { translatedImage } from '../../../../src/disks/storage-daemon/translated-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import { StillError } from '../../../../src/errors.js';
import { nameFromText } from '../../../../src/name.js';

const run = promisify(execFile);
const M = 1 << 20;
let folder: string;
let store: StoreFolder;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-daemon-'));
  await run('qemu-img', ['create', '-q', '-f', 'vdi', 'a.vdi', '8M'], { cwd: folder });
  await run('qemu-io', ['-f', 'vdi', '-c', 'write -P 3 1M 2M', 'a.vdi'], { cwd: folder });
  store = await StoreFolder.open(folder);
});
afterAll(async () => {
  store.close();
  await rm(folder, { recursive: true });
});

/** The processes that this one has started, by number: those of the program. */
async function daemons(parent = process.pid): Promise<number[]> {
  const tasks = await readdir(`/proc/${parent}/task`);
  const lists = await Promise.all(
    tasks.map((task) => readFile(`/proc/${parent}/task/${task}/children`, 'utf8').catch(() => '')),
  );
  const children = lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
  const names = await Promise.all(
    children.map((pid) => readFile(`/proc/${pid}/comm`, 'latin1').catch(() => '')),
  );
  return children.filter((_, place) => names[place]?.startsWith('qemu-storage-d'));
}

const only = async (): Promise<number> => {
  const [pid, ...others] = await daemons();
  if (pid === undefined || others.length > 0) throw new Error(`${others.length + 1} daemons`);
  return pid;
};

let temporary: string;
beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'stillfs-temporary-'));
  process.env.TMPDIR = temporary;
  // The daemon's user has to get to the folder that is made in there.
  if (process.getuid?.() === 0) await run('chmod', ['711', temporary]);
});
afterEach(async () => {
  delete process.env.TMPDIR;
  expect(await readdir(temporary)).toEqual([]);
  expect(await daemons()).toEqual([]);
  await rm(temporary, { recursive: true });
});

const opened = (): Promise<Disk> => openForeignImage(store, nameFromText('a.vdi'), 'vdi');

describe('the daemon that translates an image', () => {
  test.runIf(process.getuid?.() === 0)(
    'runs as nobody, without groups or the way to new rights',
    async () => {
      const disk = await opened();
      const status = await readFile(`/proc/${await only()}/status`, 'utf8');
      expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
      expect(status).toMatch(/^Gid:\t65534\t65534\t65534\t65534$/m);
      expect(status).toMatch(/^Groups:\t *$/m);
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
      expect(status).toMatch(/^CapEff:\t0000000000000000$/m);
      await disk.close();
    },
  );

  test('has neither the image nor any other file open', async () => {
    const disk = await opened();
    const pid = await only();
    const open = await Promise.all(
      (await readdir(`/proc/${pid}/fd`)).map((descriptor) => readlink(`/proc/${pid}/fd/${descriptor}`)),
    );
    expect(open.filter((path) => path.startsWith('/')).filter((path) => path !== '/dev/null')).toEqual([]);
    expect(open.filter((path) => path.startsWith('socket:')).length).toBeGreaterThan(1);
    await disk.close();
  });

  test('leaves no folder behind while it works, whoever is killed', async () => {
    const disk = await opened();
    expect(await readdir(temporary)).toEqual([]);
    await disk.close();
  });

  test('ends when the disk is closed, also where it is closed twice', async () => {
    const disk = await opened();
    const pid = await only();
    await Promise.all([disk.close(), disk.close()]);
    await expect(readFile(`/proc/${pid}/comm`)).rejects.toThrow();
    await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'EBADF' });
  });

  test('that is killed makes reads EIO with the reason', async () => {
    const disk = await opened();
    await disk.read(M, Buffer.alloc(512));
    process.kill(await only(), 'SIGKILL');
    for (const _ of [1, 2]) {
      await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({
        code: 'EIO',
        message: `${folder}/a.vdi can't be read any more: qemu-storage-daemon ended (SIGKILL): it said nothing`,
      });
      await expect(disk.extents(0, 512)).rejects.toMatchObject({ code: 'EIO' });
    }
    await disk.close();
  });

  test('that is stopped is killed when the disk is closed', async () => {
    const disk = await opened();
    process.kill(await only(), 'SIGSTOP');
    const read = disk.read(0, Buffer.alloc(512));
    read.catch(() => undefined);
    await disk.close();
    await expect(read).rejects.toMatchObject({ code: 'EBADF' });
  });

  test('does not start for an opening that is aborted', async () => {
    const abort = new AbortController();
    const opening = openForeignImage(store, nameFromText('a.vdi'), 'vdi', abort.signal);
    opening.catch(() => undefined);
    while ((await daemons()).length === 0 && (await readdir(temporary)).length === 0)
      await new Promise(setImmediate);
    abort.abort(new Error('enough'));
    await expect(opening).rejects.toThrow('enough');
  });
});

describe('an image that fails', () => {
  /** Zeros that can be read up to some offset, and closes that are counted. */
  function failingImage(from: number): Disk & { closed: number } {
    return {
      size: 8 * M,
      closed: 0,
      read: async (offset, target) => {
        if (offset + target.length > from) throw new StillError('EIO', 'the store has lost the disk');
        target.fill(0);
      },
      extents: async (offset, length) => [{ offset, length, zero: false, dirty: true }],
      async close() {
        this.closed++;
      },
    };
  }

  test('while it is read gives its own reason, and the rest can be read', async () => {
    const image = failingImage(4 * M);
    const disk = await translatedImage(image, 'raw', 'the image');
    await disk.read(0, Buffer.alloc(512));
    await expect(disk.read(5 * M, Buffer.alloc(512))).rejects.toMatchObject({
      code: 'EIO',
      message: "the image can't be read",
      cause: { message: 'the store has lost the disk' },
    });
    await disk.read(M, Buffer.alloc(512));
    await disk.close();
    expect(image.closed).toBe(1);
  });

  test('while it is opened is closed, and told with the daemon’s words', async () => {
    const image = failingImage(0);
    await expect(translatedImage(image, 'qcow2', 'the image')).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(
        /^the image can't be opened: qemu-storage-daemon ended \(1\): .*Input\/output/,
      ),
    });
    expect(image.closed).toBe(1);
  });

  test('is closed where there is no place for the daemon’s folder', async () => {
    const image = failingImage(0);
    process.env.TMPDIR = join(temporary, 'none');
    await expect(translatedImage(image, 'raw', 'the image')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(image.closed).toBe(1);
  });
});

describe('another process that opens an image', () => {
  const project = dirname(new URL('../../../../package.json', import.meta.url).pathname);
  const script = 'dist/test/src/disks/storage-daemon/opening-process.js';
  let copy: string;
  let child: ChildProcess | undefined;
  beforeAll(async () => {
    // The checkout may lie where only root can go.
    copy = await mkdtemp(join(tmpdir(), 'stillfs-copy-'));
    const parts = [
      'package.json',
      'dist/src',
      dirname(script),
      'node_modules/koffi',
      'node_modules/@koromix',
    ];
    await run('cp', ['-r', '--parents', ...parts, copy], { cwd: project });
    await chmod(copy, 0o755);
    await chmod(folder, 0o755);
  });
  afterAll(() => rm(copy, { recursive: true }));
  afterEach(async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  /** Starts it, and says what it said when the image was open. */
  async function opening(...before: string[]): Promise<{ process: ChildProcess; said: string }> {
    const [program = '', ...args] = [...before, process.execPath, join(copy, script), folder, 'a.vdi'];
    const started = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    child = started;
    const [said] = await once(started.stdout, 'data');
    return { process: started, said: String(said) };
  }

  test('takes its daemon with it when it is killed, and leaves no file', async () => {
    const { process: opener } = await opening();
    if (opener.pid === undefined) throw new Error('not started');
    const [daemon] = await daemons(opener.pid);
    expect(daemon).toBeDefined();
    opener.kill('SIGKILL');
    await once(opener, 'exit');
    while (
      await readFile(`/proc/${daemon}/status`, 'utf8').then(
        (status) => !/^State:\tZ/m.test(status),
        () => false,
      )
    )
      await new Promise(setImmediate);
    expect(await readdir(temporary)).toEqual([]);
  });

  test.runIf(process.getuid?.() === 0)('need not be root', async () => {
    await chmod(temporary, 0o777);
    const { process: opener, said } = await opening(
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
    );
    expect(said).toBe('uid 65534 byte 3\n');
    opener.stdin?.end();
    const [code] = await once(opener, 'exit');
    expect(code).toBe(0);
  });
});

import { randomInt } from 'node:crypto';
import { cp, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { GuestVerdict } from '../../src/provider/verify/verdict.js';
import { runVerifyJob } from '../../src/provider/verify/verify-job.js';
import { StoredChain } from '../backups/stored-chain.js';
import { command, stillfs } from './command-line.js';

const full = process.env.STILLFS_FULL !== undefined;
const cluster = 65_536;

describe('stillfs verify', () => {
  let chain: StoredChain;
  let backups: string[];
  let whole: string;

  beforeAll(async () => {
    chain = await StoredChain.make();
    backups = await chain.addMany(5);
    await chain.addFile(backups[2] ?? '', 'archive.tar', Buffer.alloc(3_000_000, 'files'));
    whole = join(chain.folder, 'whole');
    await cp(chain.store, whole, { recursive: true });
  });
  afterAll(() => chain?.remove());
  beforeEach(async () => {
    await rm(chain.store, { recursive: true });
    await cp(whole, chain.store, { recursive: true });
  });

  const [first, second, third, fourth, fifth] = [0, 1, 2, 3, 4].map((index) => () => backups[index] ?? '');
  const silent = { begun: () => undefined, progress: () => undefined, ended: () => undefined };
  const verdictOf = async (guest = '100'): Promise<GuestVerdict> => {
    const job = { path: chain.store, guest, waitSeconds: 0 };
    const [verdict] = await runVerifyJob(job, silent, new AbortController().signal);
    if (!verdict) throw new Error('nothing was verified');
    return verdict;
  };
  const statesOf = ({ backups: found }: GuestVerdict): Record<string, string> =>
    Object.fromEntries(found.map(({ backup, state }) => [backup, state]));
  /** Changes one bit of a file. */
  const flip = async (path: string, at: number, bit = 0): Promise<void> => {
    const file = await open(path, 'r+');
    try {
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
      await file.write(Buffer.from([buffer.readUInt8(0) ^ (1 << bit)]), 0, 1, at);
    } finally {
      await file.close();
    }
  };
  /** Where an image's own data of an offset lies in its file. */
  const placeOf = async (image: string): Promise<{ start: number; offset: number }> => {
    const { stdout } = await execa('qemu-img', ['map', '--output=json', image]);
    const rows: Array<{ start: number; depth: number; data: boolean; offset: number }> = JSON.parse(stdout);
    const row = rows.find(({ depth, data }) => depth === 0 && data);
    if (!row) throw new Error(`${image} holds no data`);
    return row;
  };

  it('finds nothing wrong with what is as it was stored', async () => {
    const { exitCode, stdout } = await stillfs('verify', chain.store);
    expect(
      stdout
        .split('\n')
        .slice(1)
        .map((line) => line.split(/ {2,}/)),
    ).toEqual(backups.map((backup) => ['100', backup, 'fine', expect.stringMatching(/MiB$/)]));
    expect(exitCode).toBe(0);
    expect(await stillfs('verify', `${chain.store}:100/latest`)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(new RegExp(`^100 +${fifth?.()} +fine`, 'm')),
    });
  });

  it('tells the range that is damaged, where it is stored, and all that show it', async () => {
    const image = chain.path(second?.() ?? '', 'vda.qcow2');
    const { offset, start } = await placeOf(image);
    await flip(image, offset + 1000);
    const { exitCode, stdout } = await stillfs('verify', `${chain.store}:100`, '--json');
    const ends = stdout
      .split('\n')
      .flatMap((line) => (line.includes('"verify-end"') ? [JSON.parse(line)] : []));
    const range = {
      offset: Math.floor(start / 2 ** 20) * 2 ** 20,
      length: 2 ** 20,
      why: 'differs from its checksum',
      from: second?.(),
    };
    expect(ends.map(({ state }) => state)).toEqual(['fine', 'damaged', 'damaged', 'damaged', 'damaged']);
    expect(ends[1].dependents).toEqual(backups.slice(2));
    for (const { parts } of ends.slice(1))
      expect(parts).toContainEqual(
        expect.objectContaining({ file: 'vda.qcow2', state: 'damaged', damage: [range] }),
      );
    expect(exitCode).toBe(1);
    expect(await stillfs('verify', `${chain.store}:100/latest`)).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(/vda\.qcow2: 1048576 bytes at \d+: .*\(stored in what it builds on\)/),
    });
  });

  it('finds a flipped bit anywhere that matters', async () => {
    /** Whether QEMU reads something else, or nothing. */
    const matters = async (backup: string, disk: string): Promise<boolean> => {
      const raw = join(chain.folder, 'raw');
      const { exitCode } = await execa(
        'qemu-img',
        ['convert', '-f', 'qcow2', '-O', 'raw', chain.path(backup, `${disk}.qcow2`), raw],
        { reject: false },
      );
      if (exitCode !== 0) return true;
      const { stdout } = await execa('sha256sum', [raw]);
      return stdout.split(' ')[0] !== chain.hashes(backup)[disk];
    };
    const pick = <Item>(items: readonly Item[]): Item => {
      const item = items[randomInt(items.length)];
      if (item === undefined) throw new Error('there is nothing to pick from');
      return item;
    };
    const files = (await readdir(chain.guestFolder, { recursive: true })).filter((name) =>
      /\.(qcow2|sums|conf|tar)$/.test(name),
    );
    const images = files.filter((name) => name.endsWith('.qcow2'));
    const tried: Record<string, number> = { 'tables and headers': 0, data: 0, 'other files': 0 };
    const missed: string[] = [];
    for (let round = 0; round < (full ? 200 : 20); ) {
      const kind = (['tables and headers', 'data', 'other files'] as const)[round % 3] ?? 'data';
      const file = pick(kind === 'other files' ? files.filter((name) => !images.includes(name)) : images);
      const [backup = '', name = ''] = file.split('/');
      const path = chain.path(file);
      const content = await readFile(path);
      let at = randomInt(content.length);
      // Of tables mostly what is used: they are nearly empty.
      if (kind === 'tables and headers')
        at = pick([...content.subarray(0, 5 * cluster).keys()].filter((place) => content[place] !== 0));
      if (kind === 'data') at = 5 * cluster + randomInt(content.length - 5 * cluster);
      await flip(path, at, randomInt(8));
      if (kind === 'other files' || (await matters(backup, name.replace('.qcow2', '')))) {
        tried[kind] = (tried[kind] ?? 0) + 1;
        round++;
        if (statesOf(await verdictOf())[backup] !== 'damaged') missed.push(`${file} at ${at}`);
      }
      await writeFile(path, content);
    }
    process.stdout.write(`flipped bits: ${JSON.stringify(tried)}, missed: ${missed.length}\n`);
    expect(missed).toEqual([]);
  }, 600_000);

  it('tells what is missing, and what is another’s', async () => {
    await rm(chain.path(first?.() ?? '', 'vda.sums'));
    await rm(chain.path(third?.() ?? '', 'archive.tar'));
    // A backup that was put in place of another: the increments upon it are relative to a state that it does not have.
    const json = chain.path(fourth?.() ?? '', 'backup.json');
    await writeFile(json, (await readFile(json, 'utf8')).replaceAll(`state-${fourth?.()}`, 'state-other'));
    const { exitCode, stdout } = await stillfs('verify', chain.store);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/vda\.qcow2: ENOENT: .*vda\.sums/);
    expect(stdout).toMatch(/archive\.tar: it is missing/);
    expect(stdout).toContain(
      `changed since the state state-${fourth?.()}; ${fourth?.()} has the state state-other`,
    );
    await rename(chain.path(second?.() ?? ''), chain.path(`${second?.()}.away`));
    const states = statesOf(await verdictOf());
    expect([third, fourth, fifth].map((name) => states[name?.() ?? ''])).toEqual([
      'damaged',
      'damaged',
      'damaged',
    ]);
  });

  it('does not call fine what has no checksums', async () => {
    const foreign = join(chain.store, 'foreign', 'qemu-1731491839');
    await mkdir(foreign, { recursive: true });
    await writeFile(join(foreign, 'vda.raw'), Buffer.alloc(cluster, 1));
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', join(foreign, 'vdb.qcow2'), '1M']);
    expect(await stillfs('verify', `${chain.store}:foreign`)).toMatchObject({
      exitCode: 5,
      stdout: expect.stringMatching(/unchecked +vda\.raw: there are no checksums/),
    });
    await writeFile(join(foreign, 'vdb.qcow2'), 'no image at all');
    expect((await stillfs('verify', `${chain.store}:foreign`)).exitCode).toBe(1);
  });

  it('tells of what was left, of guests without backups, and refuses what is not there', async () => {
    await mkdir(chain.path('.merge-0123456789ab'));
    await mkdir(join(chain.store, 'empty'));
    const { exitCode, stdout } = await stillfs('verify', chain.store);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('.merge-0123456789ab was left by interrupted work');
    expect(stdout).toMatch(/^empty +- +- +\(no backups\)$/m);
    for (const [address, sentence] of [
      [`${chain.store}:101`, 'the store has no such guest'],
      [`${chain.store}:100/20200101T000000Z`, `the latest is ${fifth?.()}`],
      [join(chain.folder, 'nowhere'), 'there is no such folder'],
    ] as const) {
      const refused = await stillfs('verify', address);
      expect(refused.exitCode).toBe(1);
      expect(refused.stdout + refused.stderr).toContain(sentence);
    }
  });

  it('waits for who changes the backups, if it may, and ends when it is asked to', async () => {
    const lock = chain.path('.lock');
    await writeFile(lock, '4711 prune of 100\n');
    const holder = execa('flock', ['-x', lock, 'sh', '-c', 'echo held; read line'], {
      reject: false,
      stdin: 'pipe',
    });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const busy = await stillfs('verify', chain.store);
    expect(busy).toMatchObject({
      exitCode: 3,
      stdout: expect.stringContaining('in use by "prune of 100", process 4711'),
    });
    const quiet = { reject: false, stdin: 'ignore' } as const;
    const args = [command, 'verify', `${chain.store}:100`, '--json', '--wait', '100'];
    const asked = execa(process.execPath, args, quiet);
    const waiting = execa(process.execPath, args, quiet);
    // Its signal handlers are there before it opens the lock's file, which is what can be seen of its waiting.
    await Promise.all([untilOpen(asked.pid ?? 0, lock), untilOpen(waiting.pid ?? 0, lock)]);
    asked.kill('SIGINT');
    expect(await asked).toMatchObject({ exitCode: 1, stdout: expect.stringContaining('ended by SIGINT') });
    holder.stdin.end('\n');
    expect(await waiting).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('"verify-end"') });
  });
});

/** Resolves when a process has a file open. */
async function untilOpen(pid: number, path: string): Promise<void> {
  for (;;) {
    const { stdout } = await execa('find', [`/proc/${pid}/fd`, '-lname', path], { reject: false });
    if (stdout !== '') return;
  }
}

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StoreFolder } from '../../../src/disks/store-folder.js';
import { findBasis } from '../../../src/provider/disks/basis.js';
import { digestOfZeros } from '../../../src/provider/sums/sums-format.js';
import { SumsWriter } from '../../../src/provider/sums/sums-writer.js';

const mebibyte = 2 ** 20;

describe('what a disk is stored relative to', () => {
  let path: string;
  let store: StoreFolder;
  beforeAll(async () => {
    path = await mkdtemp(join(tmpdir(), 'stillfs-basis-'));
    await stored('20240101T000000Z', 'daily', 'one');
    await stored('20240102T000000Z', 'daily', 'two', '20240101T000000Z');
    await stored('20240103T000000Z', 'weekly', 'three');
    // Neither says anything of itself that can be built upon.
    await mkdir(join(path, '100', '20240104T000000Z'));
    await mkdir(join(path, '100', '20240105T000000Z'));
    await writeFile(join(path, '100', '20240105T000000Z', 'backup.json'), '{"chain": 5}');
    await stored('20240106T000000Z', 'broken', 'six');
    await truncate(join(path, '100', '20240106T000000Z', 'vda.sums'), 90);
    store = await StoreFolder.open(path);
  });
  afterAll(async () => {
    store.close();
    await rm(path, { recursive: true });
  });

  /** A backup of a disk of zeros. */
  async function stored(folder: string, chain: string, id: string, parent?: string): Promise<void> {
    const backup = join(path, '100', folder);
    await mkdir(backup, { recursive: true });
    const backing = parent === undefined ? [] : ['-u', '-b', `../${parent}/vda.qcow2`, '-F', 'qcow2'];
    const image = join(backup, 'vda.qcow2');
    await promisify(execFile)('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      ...backing,
      image,
      String(mebibyte),
    ]);
    const sums = await SumsWriter.create(join(backup, 'vda.sums'), mebibyte);
    await sums.set(0, await digestOfZeros(mebibyte));
    await sums.finish();
    const vda = {
      file: 'vda.qcow2',
      format: 'qcow2',
      size: mebibyte,
      id,
      parent: parent ?? null,
      sums: 'vda.sums',
    };
    await writeFile(join(backup, 'backup.json'), JSON.stringify({ version: 1, chain, disks: { vda } }));
  }

  const ask = async (
    chain: string | null,
    mode: 'none' | 'new' | 'reuse',
    base: string | null,
    { limited = false, name = 'vda' } = {},
  ): Promise<{ kind: string; parent?: string; reason?: string }> => {
    const disk = { name, size: mebibyte, mode, base, dirty: 0 };
    const basis = await findBasis(
      { store, guest: '100', chain, disk, limited },
      new AbortController().signal,
    );
    if (basis.kind === 'whole') return { kind: 'whole', ...(basis.reason && { reason: basis.reason }) };
    await basis.parent.close();
    return { kind: basis.kind, parent: basis.parent.backup };
  };

  it('is nothing, for a full backup and for the first of a chain', async () => {
    expect(await ask(null, 'none', null)).toEqual({ kind: 'whole' });
    expect(await ask('monthly', 'new', null)).toMatchObject({ kind: 'whole' });
    expect(await ask('daily', 'new', null, { name: 'vdb' })).toMatchObject({ kind: 'whole' });
  });

  it('is the backup whose state the map is relative to, be it the newest or not', async () => {
    expect(await ask('daily', 'reuse', 'two')).toEqual({ kind: 'increment', parent: '20240102T000000Z' });
    expect(await ask('daily', 'reuse', 'one')).toEqual({ kind: 'increment', parent: '20240101T000000Z' });
  });

  it('is the newest of the chain, by comparison, where the map counts nothing there', async () => {
    const compared = { kind: 'comparison', parent: '20240102T000000Z' };
    expect(await ask('daily', 'new', null)).toEqual(compared);
    expect(await ask('daily', 'reuse', 'never stored')).toEqual(compared);
    // Of another chain.
    expect(await ask('daily', 'reuse', 'three')).toEqual(compared);
  });

  it('is never what is damaged', async () => {
    const whole = {
      kind: 'whole',
      reason: expect.stringMatching(/20240106T000000Z can't be built upon: .*damaged/),
    };
    expect(await ask('broken', 'reuse', 'six')).toEqual(whole);
    expect(await ask('broken', 'new', null)).toEqual(whole);
  });

  it('can’t be found for a disk that can’t be read as a whole: what to do is said', async () => {
    await expect(ask('daily', 'reuse', 'never stored', { limited: true })).rejects.toThrow(
      /relative to \(never stored\) is not in the store; begin the chain anew: stillfs chain drop 100 daily/,
    );
    await expect(ask('broken', 'reuse', 'six', { limited: true })).rejects.toThrow(/damaged.*chain drop/);
  });
});

import { join } from 'node:path';
import { StillError } from '../../errors.js';
import { joinSignals } from '../../joined-signal.js';
import type { DescribedDisk } from '../../stores/directory/backup-json.js';
import type { BackupWork, StoredContent } from '../backup/backup-work.js';
import type { SnapshotDiskFacts } from '../mounted/mounted-snapshot.js';
import { SumsWriter } from '../sums/sums-writer.js';
import { type Basis, findBasis } from './basis.js';
import { allDirty, readDirtyRows } from './dirty-rows.js';
import { copyDisk } from './disk-copy.js';
import { GiveBack } from './give-back.js';
import { ImageServer } from './image-server.js';
import { SnapshotDisk } from './snapshot-disk.js';

/** A disk and what it is stored relative to. */
interface PlannedDisk {
  readonly facts: SnapshotDiskFacts;
  readonly limited: boolean;
  readonly basis: Basis;
}

/** Stores the disks of a VM's snapshot, all at once, each as `<disk>.qcow2` with `<disk>.sums`. */
export async function storeDisks(work: BackupWork, signal: AbortSignal): Promise<StoredContent> {
  const planned: PlannedDisk[] = [];
  try {
    for (const facts of chosenDisks(work)) planned.push(await planDisk(work, facts, signal));
    const images = planned.map(({ facts, basis }) => ({
      path: join(work.folder, `${facts.name}.qcow2`),
      sizeBytes: facts.size,
      ...(basis.kind !== 'whole' && { backingFile: basis.parent.backingFile }),
    }));
    const server = await ImageServer.start(images, work.sockets, signal);
    let changed: number[];
    let stored: number[];
    try {
      changed = await atOnce(planned, signal, (disk, index, any) =>
        storeDisk(work, disk, server, index, any),
      );
      stored = await server.finish(signal);
    } catch (error) {
      await server.close();
      throw error;
    }
    const described = planned.map((disk, index): [string, DescribedDisk] => [
      disk.facts.name,
      describe(work, disk, changed[index] ?? 0, stored[index] ?? 0),
    ]);
    return { disks: Object.fromEntries(described) };
  } finally {
    for (const { basis } of planned) if (basis.kind !== 'whole') await basis.parent.close();
  }
}

function chosenDisks({ snapshot, disks, guest }: BackupWork): SnapshotDiskFacts[] {
  const known = snapshot.facts.disks;
  if (disks === undefined) return known;
  return disks.map((name) => {
    const disk = known.find((each) => each.name === name);
    if (disk) return disk;
    const names = known.map((each) => each.name).join(', ');
    throw new StillError('ENODEV', `guest ${guest} has no disk ${name} in its snapshot; it has ${names}`);
  });
}

async function planDisk(
  { snapshot, store, guest, chain, log }: BackupWork,
  facts: SnapshotDiskFacts,
  signal: AbortSignal,
): Promise<PlannedDisk> {
  const limited = snapshot.facts.readable === 'dirty' && facts.mode === 'reuse';
  const basis = await findBasis({ store, guest, chain, disk: facts, limited }, signal);
  const { name } = facts;
  switch (basis.kind) {
    case 'increment':
      log.info({ disk: name }, `${name}: ${facts.dirty} bytes changed since ${basis.parent.backup}`);
      break;
    case 'comparison':
      log.info({ disk: name }, `${name} is compared with ${basis.parent.backup}: ${basis.reason}`);
      break;
    case 'whole':
      log.info({ disk: name }, `${name} is stored as a whole${basis.reason ? `: ${basis.reason}` : ''}`);
  }
  return { facts, limited, basis };
}

/** Copies one disk; says how many bytes had changed. */
async function storeDisk(
  work: BackupWork,
  { facts, limited, basis }: PlannedDisk,
  server: ImageServer,
  index: number,
  signal: AbortSignal,
): Promise<number> {
  const { name, size } = facts;
  const image = server.writers[index];
  if (!image) throw new RangeError(`there is no image ${index}`);
  const source = await SnapshotDisk.open(work.snapshot.path('disks', `${name}.raw`), size);
  try {
    const sums = await SumsWriter.create(join(work.folder, `${name}.sums`), size);
    let changed = 0;
    try {
      const increment = basis.kind === 'increment';
      if (increment) await sums.takeOver(basis.parent.sums, signal);
      const total = increment ? facts.dirty : size;
      let done = 0;
      work.progress({ part: name, done, total });
      await copyDisk(
        {
          source,
          rows: increment
            ? readDirtyRows(work.snapshot.path('disks', `${name}.dirty.json`), size)
            : allDirty(size),
          limited,
          basis,
          image: {
            ...image,
            write: (...args) => told(image.write(...args)),
            writeZeroes: (...args) => told(image.writeZeroes(...args)),
          },
          sums,
          giveBack: new GiveBack(
            source.writable ? source.descriptor : undefined,
            () => told(image.flush(signal)),
            work.log,
          ),
          admit: (bytes, admitted) => work.bandwidth.admit(bytes, admitted),
          progress: (bytes, of) => {
            done += bytes;
            changed += of;
            work.progress({ part: name, done, total });
          },
        },
        signal,
      );
    } catch (error) {
      await sums.close();
      throw error;
    }
    await sums.finish(signal);
    return changed;
  } finally {
    await source.close();
  }

  /** A write's failure, told by what it means. */
  async function told(writing: Promise<void>): Promise<void> {
    try {
      await writing;
    } catch (error) {
      signal.throwIfAborted();
      throw await server.failure(index, error);
    }
  }
}

function describe(
  { snapshot }: BackupWork,
  { facts, basis }: PlannedDisk,
  changed: number,
  stored: number,
): DescribedDisk {
  const modes = {
    increment: 'reuse',
    comparison: 'compared',
    whole: facts.mode === 'none' ? 'none' : 'new',
  } as const;
  return {
    file: `${facts.name}.qcow2`,
    format: 'qcow2',
    size: facts.size,
    id: snapshot.facts.id,
    base: basis.kind === 'increment' ? facts.base : null,
    mode: modes[basis.kind],
    parent: basis.kind === 'whole' ? null : basis.parent.backup,
    sums: `${facts.name}.sums`,
    dirtyBytes: basis.kind === 'comparison' ? changed : facts.dirty,
    storedBytes: stored,
  };
}

/** Does something for all; the first failure ends the others, and all have ended when this is back. */
async function atOnce<In, Out>(
  items: readonly In[],
  signal: AbortSignal,
  work: (item: In, index: number, signal: AbortSignal) => Promise<Out>,
): Promise<Out[]> {
  const failed = new AbortController();
  const { signal: any, part } = joinSignals(signal, failed.signal);
  let first: { readonly reason: unknown } | undefined;
  try {
    const results = await Promise.allSettled(
      items.map(async (item, index) => {
        try {
          return await work(item, index, any);
        } catch (error) {
          first ??= { reason: error };
          failed.abort(error);
          throw error;
        }
      }),
    );
    if (first) throw first.reason;
    return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  } finally {
    part();
  }
}

import { messageOf } from '../../errors.js';
import type { GuestDescription } from '../guest.js';
import { GuestState } from '../state/guest-state.js';
import { parseBitmapName } from './bitmap-name.js';
import { drivesOf } from './drives.js';
import { FleecingFolder } from './fleecing-folder.js';
import { type BlockDevice, queryBlock } from './qmp/commands/block-devices.js';
import { type BlockNode, type DirtyBitmap, queryNamedBlockNodes } from './qmp/commands/block-nodes.js';
import { queryStatus } from './qmp/commands/run-state.js';
import type { Monitor } from './qmp/monitor.js';
import { GuestIsOff } from './qmp/qmp-error.js';
import type { QemuGuestSettings } from './settings.js';
import type { RecordedDisk } from './snapshot-record.js';
import { readRecords } from './state/snapshot-file.js';

const answerMilliseconds = 3000;

/** What is told of a VM. */
export interface QemuGuestDescription extends GuestDescription {
  readonly disks: ReadonlyArray<{
    readonly name: string;
    /** Bytes. */
    readonly size: number;
    readonly format: string;
  }>;
  readonly chains: ReadonlyArray<{
    readonly name: string;
    readonly disks: ReadonlyArray<{
      readonly name: string;
      /** The id of the snapshot that the bitmap is relative to. */
      readonly base: string;
      /** `recording`; `stale`, `inconsistent`: the next snapshot of the chain has the whole disk dirty. */
      readonly state: 'recording' | 'stale' | 'inconsistent';
      readonly persistent: boolean;
      /** Bytes changed since the base. */
      readonly dirty: number;
    }>;
  }>;
}

type Chains = QemuGuestDescription['chains'];

/**
 * What a guest's QEMU tells of it now. Snapshots that are open, being taken or being ended have their filters before the disks' own
 * nodes: which those are is recorded in the state folder.
 */
export async function describeGuest(
  monitor: Monitor,
  { id, disks }: QemuGuestSettings,
  stateFolder: string,
  signal: AbortSignal,
): Promise<QemuGuestDescription> {
  const known = { id, type: 'qemu', disks: [], chains: [] } as const;
  const folder = GuestState.folderOf(stateFolder, id);
  try {
    // A record is there before what it tells of, and goes after it: read before and after, none is missed.
    const before = await readRecords(folder);
    for (const { fleecingFolder } of before) {
      const fleecing = FleecingFolder.at(fleecingFolder);
      if (await fleecing.answers()) continue;
      return { ...known, state: 'unknown', reason: fleecing.danger };
    }
    return await monitor.use(
      async (connection) => {
        const limits = { signal, deadlineMilliseconds: answerMilliseconds };
        const { status } = await queryStatus(connection, limits);
        const nodes = await queryNamedBlockNodes(connection, limits);
        const shown = await queryBlock(connection, limits);
        const filters = [...before, ...(await readRecords(folder))].flatMap((record) => record.disks);
        const devices = shown.map((device) => unfiltered(device, nodes, filters));
        const { drives } = drivesOf(devices, disks && new Set(disks));
        return {
          ...known,
          state: status,
          disks: drives.map(({ name, sizeBytes, format }) => ({ name, size: sizeBytes, format })),
          chains: chainsOf(drives),
        };
      },
      { signal, deadlineMilliseconds: answerMilliseconds },
    );
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof GuestIsOff) return { ...known, state: 'off' };
    return { ...known, state: 'unknown', reason: messageOf(error) };
  }
}

function unfiltered(
  device: BlockDevice,
  nodes: readonly BlockNode[],
  filters: readonly RecordedDisk[],
): BlockDevice {
  const disk = filters.find(({ filter }) => filter === device.inserted?.name);
  const own = disk && nodes.find(({ name }) => name === disk.node);
  return own ? { ...device, inserted: own } : device;
}

function chainsOf(drives: ReadonlyArray<{ name: string; bitmaps: readonly DirtyBitmap[] }>): Chains {
  const chains = new Map<string, Array<Chains[number]['disks'][number]>>();
  for (const { name: disk, bitmaps } of drives) {
    for (const { name, inconsistent, recording, persistent, dirtyBytes } of bitmaps) {
      const ours = parseBitmapName(name);
      if (!ours) continue;
      const rows = chains.get(ours.chain) ?? [];
      chains.set(ours.chain, rows);
      const state = inconsistent ? 'inconsistent' : recording ? 'recording' : 'stale';
      rows.push({ name: disk, base: ours.base, state, persistent, dirty: dirtyBytes });
    }
  }
  return [...chains].map(([name, disks]) => ({ name, disks }));
}

import { messageOf } from '../../errors.js';
import type { GuestAgent } from './agent/guest-agent.js';
import { absoluteQomPath } from './drives.js';
import { type BlockDevice, queryBlock } from './qmp/commands/block-devices.js';
import {
  type BlockNode,
  blockdevDel,
  type DirtyBitmap,
  queryNamedBlockNodes,
} from './qmp/commands/block-nodes.js';
import {
  type BitmapAction,
  enableBitmap,
  mergeBitmaps,
  removeBitmap,
  transaction,
} from './qmp/commands/dirty-bitmaps.js';
import { deleteExport, queryBlockExports } from './qmp/commands/exports.js';
import { stopNbdServer } from './qmp/commands/nbd-server.js';
import { qomSet } from './qmp/commands/object-tree.js';
import { closeNamed, queryDescriptorSets, removeSet } from './qmp/commands/passed-descriptors.js';
import { cont, queryStatus, stop } from './qmp/commands/run-state.js';
import type { QmpConnection } from './qmp/connection.js';
import { QmpError } from './qmp/qmp-error.js';
import { listenerName, type RecordedDisk, type SnapshotRecord } from './snapshot-record.js';

/** What a dismantling needs to know beside the record. */
export interface Dismantling {
  readonly outcome: 'success' | 'failure';
  /** Whether QEMU's NBD server is the one that was started for this snapshot: asked where no export of it tells. */
  readonly isOurServer: () => Promise<boolean>;
  /** Writes down that the guest is about to be paused. */
  readonly pausing: () => Promise<void>;
  /** Ends what connections there are to our NBD server, when no export has clients any more. */
  readonly disconnect: () => Promise<void>;
}

/** How long QEMU may take for one command when a guest stands still, in milliseconds. */
const patience = 30_000;
const limits = { deadlineMilliseconds: patience };

/**
 * Takes apart whatever there is of a snapshot, whole or half made, in the order that QEMU survives; lets the guest run again
 * if it was us who stopped it; and settles the bitmaps. Nothing of it is an error if it is not there (any more), so it can be
 * done again. Gives one sentence for each thing that is left. Rejects where QEMU goes away meanwhile.
 */
export async function dismantle(
  connection: QmpConnection,
  agent: GuestAgent | undefined,
  record: SnapshotRecord,
  { outcome, isOurServer, pausing, disconnect }: Dismantling,
): Promise<string[]> {
  const left: string[] = [];
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      connection.ended.throwIfAborted();
      left.push(`${what}: ${messageOf(error)}`);
    }
  };

  const { running, status } = await queryStatus(connection, limits);
  const resume = running || (record.pausing && status === 'paused');
  const exported = (await queryBlockExports(connection, limits)).map(({ id }) => id);
  const nodes = new Set((await queryNamedBlockNodes(connection, limits)).map(({ name }) => name));
  const devices = await queryBlock(connection, limits);
  const attached = record.disks.flatMap((disk) => {
    const device = devices.find(({ inserted }) => inserted?.name === disk.filter);
    return device ? [{ disk, device }] : [];
  });

  const ourServer = record.disks.some(({ exportId }) => exported.includes(exportId)) || (await isOurServer());

  // An iothread's disk is only changed, and its clients only sent away, while the guest stands still.
  const mustStop =
    running && record.disks.some(({ exportId, filter }) => exported.includes(exportId) || nodes.has(filter));
  if (mustStop) {
    await pausing();
    await stop(connection, limits);
  }
  try {
    for (const { exportId } of record.disks) {
      if (exported.includes(exportId))
        await attempt(`the export ${exportId}`, () => deleteExport(connection, exportId, 'hard', limits));
    }
    for (const { access } of record.disks) {
      if (nodes.has(access))
        await attempt(`the node ${access}`, () => blockdevDel(connection, access, limits));
    }
    for (const { disk } of attached) {
      await attempt(`the filter on ${disk.name}`, () =>
        qomSet(connection, disk.qomPath, 'drive', disk.node, limits),
      );
    }
    for (const { filter, fleecing } of record.disks) {
      for (const node of [filter, fleecing]) {
        if (nodes.has(node)) await attempt(`the node ${node}`, () => blockdevDel(connection, node, limits));
      }
    }
    await attempt('the bitmaps', () => settleBitmaps(connection, record, outcome));
  } finally {
    if (resume && !connection.ended.aborted) await cont(connection, limits);
    if (record.pausing) await agent?.thaw().catch(() => undefined);
  }
  if (ourServer && left.length === 0) {
    // QEMU 7.2.22 waits for clients that have not asked for an export yet, and never comes back: the guest would hang.
    await disconnect();
    await attempt('the NBD server', () => stopNbdServer(connection, limits));
  }
  await attempt('the fleecing images', () => removePassed(connection, record));
  return left;
}

/** Lets a guest go on that we stopped, whatever there is of the snapshot. */
export async function letRun(
  connection: QmpConnection,
  agent: GuestAgent | undefined,
  { pausing }: SnapshotRecord,
): Promise<void> {
  if (!pausing) return;
  if ((await queryStatus(connection, limits)).status === 'paused') await cont(connection, limits);
  await agent?.thaw().catch(() => undefined);
}

/** What was passed to QEMU and never came to be used. */
async function removePassed(connection: QmpConnection, { disks }: SnapshotRecord): Promise<void> {
  const images = new Set(disks.map(({ fleecing }) => fleecing));
  for (const { id, descriptors } of await queryDescriptorSets(connection, limits)) {
    if (descriptors.some(({ opaque }) => opaque !== undefined && images.has(opaque)))
      await removeSet(connection, id, limits);
  }
  // There is no asking whether it is there.
  await closeNamed(connection, listenerName, limits).catch((error: unknown) => {
    if (!(error instanceof QmpError)) throw error;
  });
}

/**
 * On success the old bitmap goes and the new one stays. On failure what the new one holds becomes dirty in the old one, which
 * records again: nothing that was written is forgotten.
 */
async function settleBitmaps(
  connection: QmpConnection,
  record: SnapshotRecord,
  outcome: 'success' | 'failure',
): Promise<void> {
  const nodes = await queryNamedBlockNodes(connection, limits);
  const devices = await queryBlock(connection, limits);
  const actions = record.disks.flatMap((disk) => {
    const found = nodeOf(disk, devices, nodes);
    return found?.name === undefined ? [] : settling(disk, found.name, found.bitmaps, outcome);
  });
  if (actions.length > 0) await transaction(connection, actions, limits);
}

/**
 * Where the bitmaps of a disk are. By its device's place: in a QEMU that was started anew, nodes without names of their own have other
 * names; or, where the device was unplugged, at the node that it used.
 */
function nodeOf(
  disk: RecordedDisk,
  devices: readonly BlockDevice[],
  nodes: readonly BlockNode[],
): BlockNode | undefined {
  const device = devices.find(
    ({ qomPath }) => qomPath !== undefined && absoluteQomPath(qomPath) === disk.qomPath,
  );
  return [device?.inserted, nodes.find(({ name }) => name === disk.node)].find((node) =>
    node?.bitmaps.some(({ name }) => name !== undefined && name === disk.newBitmap),
  );
}

function settling(
  { newBitmap, oldBitmap, superseded }: RecordedDisk,
  node: string,
  bitmaps: readonly DirtyBitmap[],
  outcome: 'success' | 'failure',
): BitmapAction[] {
  const find = (wanted: string | null): DirtyBitmap | undefined =>
    bitmaps.find(({ name }) => name !== undefined && name === wanted);
  const [before, since] = [find(oldBitmap), find(newBitmap)];
  if (!since || newBitmap === null) return [];
  if (outcome === 'success' && !since.inconsistent) {
    return [oldBitmap, ...superseded].flatMap((name) =>
      name !== null && find(name) ? [removeBitmap({ node, name })] : [],
    );
  }
  const remove = removeBitmap({ node, name: newBitmap });
  // Where the old one has gone already, a success was settled.
  if (!before && oldBitmap !== null) return [];
  if (!before || oldBitmap === null || before.inconsistent || since.inconsistent) return [remove];
  return [
    enableBitmap({ node, name: oldBitmap }),
    mergeBitmaps({ node, target: oldBitmap, bitmaps: [newBitmap] }),
    remove,
  ];
}

import { StillError } from '../../errors.js';
import type { GuestAgent } from './agent/guest-agent.js';
import { queryBlock } from './qmp/commands/block-devices.js';
import { blockdevAdd, queryNamedBlockNodes } from './qmp/commands/block-nodes.js';
import { addBitmap, disableBitmap, transaction } from './qmp/commands/dirty-bitmaps.js';
import { addNbdExport } from './qmp/commands/exports.js';
import { startNbdServer } from './qmp/commands/nbd-server.js';
import { qomSet } from './qmp/commands/object-tree.js';
import {
  closeNamed,
  descriptorSetPath,
  passIntoSet,
  passNamed,
  removeSet,
} from './qmp/commands/passed-descriptors.js';
import { cont, queryStatus, stop } from './qmp/commands/run-state.js';
import type { QmpConnection } from './qmp/connection.js';
import { QmpSchema } from './qmp/schema.js';
import { listenerName, type RecordedDisk, type SnapshotRecord } from './snapshot-record.js';

/** What a snapshot is made of; descriptors are those of the process that makes it. */
export interface Plan {
  readonly record: SnapshotRecord;
  readonly listener: number;
  /** In the order of the record's disks. */
  readonly fleecing: readonly number[];
  /** How many clients may be connected at once. */
  readonly mostConnections: number;
  readonly freezeMilliseconds: number;
}

/** How it went. */
export interface Built {
  /** When the guest stood still: milliseconds since 1970. */
  readonly instant: number;
  /** How many file systems the agent froze; null without an agent, or where the guest did not run. */
  readonly frozen: number | null;
  readonly freezeMilliseconds: number;
  /** How long the guest's processors stood still. */
  readonly pauseMilliseconds: number;
  /** In the order of the disks: only whole granules can be given back. */
  readonly granuleBytes: readonly number[];
  /** What the disks' maps hold; null for a disk without one. */
  readonly dirtyBytes: ReadonlyArray<number | null>;
}

/** QEMU copies in clusters of this size, or of the fleecing image's if those are larger (block/copy-before-write.c). */
const leastGranule = 65_536;

/**
 * Makes a snapshot: all that takes time first, then freeze, stop, the graph and the bitmaps, go on, thaw. Between freeze and
 * thaw nothing is opened, written or logged. After a failure the guest may stand still, with half a snapshot in it: `dismantle`.
 * `pausing` writes down that the guest is about to be paused.
 */
export async function build(
  connection: QmpConnection,
  agent: GuestAgent | undefined,
  plan: Plan,
  pausing: () => Promise<void>,
  signal: AbortSignal,
): Promise<Built> {
  const { record } = plan;
  const { running } = await queryStatus(connection, { signal });
  await mustBeAsPlanned(connection, record, signal);
  await passNamed(connection, plan.listener, listenerName, { signal });
  try {
    await startNbdServer(connection, { descriptorName: listenerName }, plan.mostConnections, { signal });
  } catch (error) {
    await closeNamed(connection, listenerName).catch(() => undefined); // the server may have taken it
    throw error;
  }
  for (const [index, disk] of record.disks.entries()) {
    await addFleecing(connection, disk, plan.fleecing[index], signal);
  }
  // All that we write are trims, after which we do not read: several connections see the same.
  const several = (await QmpSchema.of(connection, { signal })).hasArgument('block-export-add', 'multi-conn', {
    type: 'nbd',
  });
  const granuleBytes = await granules(connection, record, signal);

  // A guest that its administrator has paused stays so, whatever becomes of us.
  if (running) await pausing();
  const freezing = performance.now();
  const frozen =
    agent && running ? await agent.freeze({ signal, deadlineMilliseconds: plan.freezeMilliseconds }) : null;
  const stopping = performance.now();
  if (running) await stop(connection, { signal });
  const instant = Date.now();
  await startBitmaps(connection, record, signal);
  for (const disk of record.disks) await insertFilter(connection, disk, plan, several, signal);
  if (running) await cont(connection);
  const pauseMilliseconds = running ? performance.now() - stopping : 0;
  if (frozen !== null) await agent?.thaw();
  return {
    instant,
    frozen,
    freezeMilliseconds: frozen === null ? 0 : stopping - freezing,
    pauseMilliseconds,
    granuleBytes,
    dirtyBytes: await dirtyBytes(connection, record, signal),
  };
}

/** The guest's disks may have changed since the plan was made. */
async function mustBeAsPlanned(
  connection: QmpConnection,
  { disks, guest }: SnapshotRecord,
  signal: AbortSignal,
): Promise<void> {
  const devices = await queryBlock(connection, { signal });
  for (const disk of disks) {
    const inserted = devices.find((device) => device.inserted?.name === disk.node)?.inserted;
    if (inserted?.sizeBytes === disk.sizeBytes) continue;
    throw new StillError('EAGAIN', `the disk ${disk.name} of ${guest} has just changed; try again`);
  }
}

async function addFleecing(
  connection: QmpConnection,
  { fleecing, sizeBytes }: RecordedDisk,
  descriptor: number | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (descriptor === undefined)
    throw new StillError('EINVAL', `no fleecing image was passed for ${fleecing}`);
  const set = await passIntoSet(connection, descriptor, { opaque: fleecing }, { signal });
  const filename = descriptorSetPath(set);
  // Whenever QEMU stops a guest it flushes all that it has. Nobody needs this after a crash: the guest is not to wait for it.
  const cache = { 'no-flush': true };
  const file = { driver: 'file', filename, locking: 'off', discard: 'unmap', cache } as const;
  await blockdevAdd(
    connection,
    { driver: 'raw', 'node-name': fleecing, discard: 'unmap', size: sizeBytes, cache, file },
    { signal },
  );
  // The node has one of its own now. QEMU would keep this one, and the image's space, as long as any monitor is connected.
  await removeSet(connection, set, { signal });
}

async function granules(
  connection: QmpConnection,
  { disks }: SnapshotRecord,
  signal: AbortSignal,
): Promise<number[]> {
  const nodes = await queryNamedBlockNodes(connection, { signal });
  const clusterOf = (name: string): number => nodes.find((node) => node.name === name)?.clusterBytes ?? 0;
  return disks.map(({ fleecing }) => Math.max(leastGranule, clusterOf(fleecing)));
}

/** What the old bitmaps hold, which stand still now. */
async function dirtyBytes(
  connection: QmpConnection,
  { disks }: SnapshotRecord,
  signal: AbortSignal,
): Promise<Array<number | null>> {
  const nodes = await queryNamedBlockNodes(connection, { signal });
  return disks.map(({ node, oldBitmap }) => {
    const bitmaps = nodes.find(({ name }) => name === node)?.bitmaps ?? [];
    return bitmaps.find(({ name }) => name !== undefined && name === oldBitmap)?.dirtyBytes ?? null;
  });
}

/** From here on the old bitmaps stand still and the new ones record: all disks at one instant. */
async function startBitmaps(
  connection: QmpConnection,
  { disks }: SnapshotRecord,
  signal: AbortSignal,
): Promise<void> {
  const actions = disks.flatMap(({ node, oldBitmap, newBitmap, persistent }) => [
    ...(newBitmap === null ? [] : [addBitmap({ node, name: newBitmap, persistent })]),
    ...(oldBitmap === null ? [] : [disableBitmap({ node, name: oldBitmap })]),
  ]);
  if (actions.length > 0) await transaction(connection, actions, { signal });
}

async function insertFilter(
  connection: QmpConnection,
  disk: RecordedDisk,
  { record }: Plan,
  several: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { node, oldBitmap, filter, access, fleecing, exportId, qomPath } = disk;
  const map = oldBitmap === null ? undefined : { node, name: oldBitmap };
  await blockdevAdd(
    connection,
    {
      driver: 'copy-before-write',
      'node-name': filter,
      file: node,
      target: fleecing,
      ...(map && disk.limited && { bitmap: map }),
      'on-cbw-error': 'break-snapshot',
      'cbw-timeout': record.copyTimeoutSeconds,
    },
    { signal },
  );
  await qomSet(connection, qomPath, 'drive', filter, { signal });
  await blockdevAdd(
    connection,
    { driver: 'snapshot-access', 'node-name': access, file: filter, discard: 'unmap' },
    { signal },
  );
  // Writable is what allows to give back; writes are refused by snapshot-access itself.
  await addNbdExport(
    connection,
    {
      id: exportId,
      'node-name': access,
      name: exportId,
      writable: true,
      ...(map && { bitmaps: [map] }),
      ...(several && { 'multi-conn': 'on' }),
    },
    { signal },
  );
}

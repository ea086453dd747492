import { closeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { hasCode, isAbort, messageOf } from '../../../errors.js';
import { GuestAgent } from '../agent/guest-agent.js';
import { dismantle, letRun } from '../dismantling.js';
import { FleecingFolder } from '../fleecing-folder.js';
import { QmpConnection } from '../qmp/connection.js';
import { GuestIsOff } from '../qmp/qmp-error.js';
import type { SnapshotRecord } from '../snapshot-record.js';
import { ChainBases } from '../state/chain-bases.js';
import type { SnapshotFile } from '../state/snapshot-file.js';

/** A connection to QEMU that is at hand, or none: then one is made. */
export interface AtHand {
  readonly connection: QmpConnection | undefined;
  readonly agent: GuestAgent | undefined;
}

const agentMilliseconds = 1000;
const greetingMilliseconds = 1000;
const greeting = Buffer.from('NBDMAGIC');

/** What ending a snapshot takes. */
export interface Means extends Partial<AtHand> {
  /** Changes the record, in the file too. */
  note(news: Partial<SnapshotRecord>): Promise<void>;
  /** Ends all connections to the NBD server, of which no export has any. */
  disconnect(): Promise<void>;
}

/** How an attempt to end a snapshot went. */
export interface Ending {
  /** One sentence for each thing that is left; then the record stays. */
  readonly left: readonly string[];
  /** The guest is off, and has bitmaps on its disks that are to be settled when it is on again; nothing can be done before. */
  readonly owed: boolean;
}

/**
 * Ends a snapshot by what was said of it: takes it apart in QEMU, notes the chain's new base, removes the record. A guest that
 * is off has lost all but its bitmaps.
 */
export async function endSnapshot(
  record: SnapshotRecord,
  file: SnapshotFile,
  { note, disconnect, ...atHand }: Means,
): Promise<Ending> {
  const outcome = record.taken ? await file.readOutcome() : 'failure';
  const guest = `guest ${record.guest}`;
  let { connection, agent } = atHand;
  try {
    connection ??= await QmpConnection.connect(record.monitor, guest);
    if (record.pausing && record.agent !== null) agent ??= await agentOf(record.agent, guest);
    const folder = FleecingFolder.at(record.fleecingFolder);
    if (!(await folder.answers())) {
      await letRun(connection, agent, record);
      await note({ pausing: false });
      return { left: [folder.danger], owed: false };
    }
    const pausing = (): Promise<void> => note({ pausing: true });
    const left = await dismantle(connection, agent, record, {
      outcome,
      isOurServer: () => isServing(record.socket),
      pausing,
      disconnect,
    });
    if (left.length > 0) {
      await note({ pausing: false });
      return { left, owed: false };
    }
  } catch (error) {
    if (!(error instanceof GuestIsOff) && !connection?.ended.aborted)
      return { left: [messageOf(error)], owed: false };
    // No monitor is not yet no QEMU: its socket may have been removed. Who has the listener has the exports too.
    if (await isListening(record.socket))
      return { left: [`QEMU runs, but not its monitor: ${messageOf(error)}`], owed: false };
    await rm(record.socket, { force: true });
    // What outlives a QEMU are its persistent bitmaps.
    if (record.taken && record.disks.some(({ newBitmap, persistent }) => newBitmap !== null && persistent))
      return { left: [], owed: true };
  } finally {
    connection?.close();
    agent?.close();
  }
  if (outcome === 'success') await noteBases(record, file);
  await rm(record.socket, { force: true });
  await file.remove();
  return { left: [], owed: false };
}

async function noteBases(record: SnapshotRecord, file: SnapshotFile): Promise<void> {
  if (record.chain === null) return;
  const bases = record.disks
    .filter(({ newBitmap }) => newBitmap !== null)
    .map(({ name, sizeBytes }) => [name, { id: record.id, sizeBytes }] as const);
  await new ChainBases(file.folder).note(record.chain, Object.fromEntries(bases));
}

async function agentOf(path: string, guest: string): Promise<GuestAgent | undefined> {
  try {
    return await GuestAgent.connect(path, guest, { deadlineMilliseconds: agentMilliseconds });
  } catch (error) {
    if (isAbort(error)) throw error;
    return undefined;
  }
}

/** Whether an NBD server answers on the socket that we made: then QEMU's server is the one that was started for us. */
function isServing(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (serving: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(serving);
    };
    const timer = setTimeout(() => end(false), greetingMilliseconds);
    socket.on('error', () => end(false));
    socket.on('close', () => end(false));
    socket.on('data', (chunk: Buffer) => end(chunk.subarray(0, greeting.length).equals(greeting)));
  });
}

/** Whether any process has the listening end of a socket. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (listening: boolean): void => {
      socket.destroy();
      resolve(listening);
    };
    socket.on('connect', () => end(true));
    socket.on('error', (error) => end(!hasCode(error, 'ENOENT') && !hasCode(error, 'ECONNREFUSED')));
  });
}

/** Closes descriptors of which some may be closed already. */
export function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) {
    try {
      closeSync(descriptor);
    } catch (error) {
      if (!hasCode(error, 'EBADF')) throw error;
    }
  }
}

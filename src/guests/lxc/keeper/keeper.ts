import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { errnoNamed, StillError } from '../../../errors.js';
import type { LxcRecord } from '../snapshot-record.js';
import type { PlannedSubvolume } from '../subvolumes.js';
import { type Order, type Report, report } from './messages.js';

const program = fileURLToPath(new URL('./keeper-process.js', import.meta.url));
/** The first descriptor that a keeper inherits: after its standard ones and the channel to the daemon. */
const firstInherited = 4;

/** What a keeper is to do. */
export interface FrozenTaking {
  readonly record: LxcRecord;
  readonly stateFolder: string;
  readonly freezeMilliseconds: number;
  /** As `record.subvolumes` has them, in the same order. */
  readonly subvolumes: readonly PlannedSubvolume[];
  /** The lock of the guest's state folder: nobody else is to work on the guest as long as the keeper does. */
  readonly lock: number;
}

export type MadeSnapshots = Extract<Report, { kind: 'taken' }>;

/**
 * Has a keeper make a container's snapshots at one instant, and comes back when it has ended: the container goes on. EIO: it was
 * killed, and somebody else has to see to that.
 */
export async function takeByKeeper(taking: FrozenTaking, signal: AbortSignal): Promise<MadeSnapshots> {
  signal.throwIfAborted();
  const { record, stateFolder, freezeMilliseconds, subvolumes, lock } = taking;
  const inherited: number[] = [lock];
  const inKeeper = (descriptor: number): number => firstInherited + inherited.push(descriptor) - 1;
  const order: Order = {
    kind: 'take',
    record,
    stateFolder,
    freezeMilliseconds,
    subvolumes: subvolumes.map(({ descriptor, into, nested }, index) => ({
      descriptor: inKeeper(descriptor),
      folder: inKeeper(into.descriptor),
      name: record.subvolumes[index]?.name ?? '',
      nested: [...nested].map(String),
    })),
  };
  const child = spawn(process.execPath, [program], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc', ...inherited],
    env: { ...process.env, UV_THREADPOOL_SIZE: '4' },
  });
  const abort = (): void => send(child, { kind: 'abort' });
  signal.addEventListener('abort', abort, { once: true });
  try {
    const told = await answerOf(child, record.guest, () => send(child, order));
    signal.throwIfAborted();
    if (told.kind === 'taken') return told;
    throw new StillError(errnoNamed(told.code), told.message);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** What the keeper said before it ended: also its last words are waited for. */
function answerOf(child: ChildProcess, guest: string, begin: () => void): Promise<Report> {
  return new Promise((resolve, reject) => {
    let said: unknown;
    let ended: string | undefined;
    const lose = (how: string): void => reject(new StillError('EIO', `the keeper of guest ${guest} ${how}`));
    const settle = (): void => {
      if (ended === undefined || child.connected) return;
      const told = report.safeParse(said);
      if (told.success) resolve(told.data);
      else lose(`ended (${ended})`);
    };
    child.on('error', (error) => lose(`could not be started: ${error.message}`));
    child.on('message', (message) => {
      said = message;
    });
    child.on('exit', (code, signal) => {
      ended = signal ?? `exit code ${code}`;
      settle();
    });
    child.on('disconnect', settle);
    child.on('spawn', begin);
  });
}

function send(child: ChildProcess, order: Order): void {
  // A keeper that is gone is told of by its end.
  if (child.connected) child.send(order, () => undefined);
}

import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, StillError } from '../../../errors.js';
import { joinSignals } from '../../../joined-signal.js';
import { nameFromText, nameToText } from '../../../name.js';
import { nestedSubvolumes, snapshotSubvolume } from '../../../posix/btrfs.js';
import { type Freezer, freeze, thaw } from '../freezer.js';
import type { Order, Report } from './messages.js';

type Taking = Extract<Order, { kind: 'take' }>;
type Taken = Extract<Report, { kind: 'taken' }>;

const retryMilliseconds = 200;

/**
 * Makes all snapshots at one instant: freezes the container, makes them, lets it go on. It goes on in any case, as soon as
 * `signal` is aborted or the deadline is over, also where the file system still has the last one in hand.
 */
export async function takeFrozen(order: Taking, signal: AbortSignal): Promise<Taken> {
  const { frozen } = order.record;
  if (frozen === null) return { ...(await makeAll(order)), freezeMilliseconds: null };
  const deadline = new AbortController();
  const late = `the container did not stand still, or its snapshots took longer than ${order.freezeMilliseconds} ms`;
  const timer = setTimeout(() => deadline.abort(new StillError('ETIMEDOUT', late)), order.freezeMilliseconds);
  const { signal: ended, part } = joinSignals(signal, deadline.signal);
  const begun = performance.now();
  let freezeMilliseconds: number;
  let made: Omit<Taken, 'freezeMilliseconds'>;
  try {
    ended.throwIfAborted();
    await freeze(frozen, ended);
    made = await Promise.race([makeAll(order), aborted(ended)]);
    // One that was made after the container had gone on would be of another instant.
    ended.throwIfAborted();
  } finally {
    clearTimeout(timer);
    part();
    await thawCertainly(frozen);
    freezeMilliseconds = Math.round((performance.now() - begun) * 1000) / 1000;
  }
  return { ...made, freezeMilliseconds };
}

async function makeAll({ subvolumes }: Taking): Promise<Omit<Taken, 'freezeMilliseconds'>> {
  const unexpected: string[][] = [];
  for (const { descriptor, nested } of subvolumes) {
    const known = new Set(nested);
    const found = await nestedSubvolumes(descriptor);
    unexpected.push(found.filter(({ id }) => !known.has(String(id))).map(({ path }) => nameToText(path)));
  }
  const instant = Date.now();
  for (const { descriptor, folder, name } of subvolumes)
    await snapshotSubvolume(descriptor, folder, nameFromText(name));
  return { kind: 'taken', instant, unexpected };
}

/** Nobody else is there to try again. */
async function thawCertainly(frozen: Freezer): Promise<void> {
  for (;;) {
    try {
      await thaw(frozen);
      return;
    } catch (error) {
      process.stderr.write(`stillfs keeper: the container still stands: ${messageOf(error)}\n`);
      await delay(retryMilliseconds);
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

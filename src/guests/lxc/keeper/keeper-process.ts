import { codeOf, messageOf, StillError } from '../../../errors.js';
import { exitNow } from '../../../posix/exit.js';
import { lxcRecordFile } from '../record-file.js';
import { takeFrozen } from './freezing.js';
import { type Order, order, type Report } from './messages.js';

// A keeper: the process that freezes a container, has its snapshots made and lets it go on. It is in a session of its own, so that
// the container goes on whatever becomes of the daemon. What was made by then is in the record, for the next daemon to remove.

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.title = 'stillfs keeper';

const givingUp = new AbortController();

async function take(told: Extract<Order, { kind: 'take' }>): Promise<Report> {
  const { record, stateFolder } = told;
  try {
    return await takeFrozen(told, givingUp.signal);
  } catch (error) {
    return { kind: 'refused', code: codeOf(error), message: messageOf(error) };
  } finally {
    if (record.frozen !== null)
      await lxcRecordFile(stateFolder, record.id).write({ ...record, frozen: null });
  }
}

function tell(report: Report): Promise<void> {
  return new Promise((resolve) => {
    // Nobody is left to be told when the daemon has gone meanwhile.
    if (process.connected) process.send?.(report, undefined, undefined, () => resolve());
    else resolve();
  });
}

// Not before the container goes on: an idle process would end when the daemon is gone.
let working: Promise<void> = Promise.resolve();
process.on('message', (message) => {
  const told = order.parse(message);
  if (told.kind === 'abort')
    givingUp.abort(new StillError('ECANCELED', 'the caller does not wait any longer'));
  else {
    working = take(told)
      .then(tell)
      .then(() => exitNow(0));
  }
});
process.on('disconnect', () => {
  givingUp.abort(new StillError('ECANCELED', 'the daemon is gone'));
  void working.then(() => exitNow(0));
});

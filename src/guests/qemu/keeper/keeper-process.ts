import { dirname } from 'node:path';
import type { SnapshotRecord } from '../snapshot-record.js';
import { SnapshotFile } from '../state/snapshot-file.js';
import { Keeping } from './keeping.js';
import { order, type Report } from './messages.js';

// A keeper: the process that a snapshot of a running VM lives as long as. It has inherited the sockets over which the daemon
// reads the guest's disks, and keeps them open until QEMU has let the exports go, whatever becomes of the daemon.

// What ends the daemon is not to end its keeper, which has to tidy up then.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.title = 'stillfs keeper';

const tell = (report: Report): void => {
  // Nobody is left to be told when the daemon has gone meanwhile.
  if (process.connected) process.send?.(report, undefined, undefined, () => undefined);
};
// The record lies in the guest's state folder, and so does the socket.
const keeping = new Keeping(
  (record: SnapshotRecord) => new SnapshotFile(dirname(record.socket), record.id),
  tell,
  process.argv.slice(2).map(Number),
);

const finish = (): void => {
  if (process.connected) process.disconnect();
};
process.on('message', (message) => {
  const told = order.parse(message);
  switch (told.kind) {
    case 'take':
      void keeping.take(told).then((how) => how === 'undone' && finish());
      break;
    case 'hold':
      keeping.hold(told.record);
      break;
    case 'abort':
      keeping.abort('the caller does not wait any longer');
      break;
    case 'end':
      void keeping.end(told.record).then(finish);
      break;
  }
});
// Also when it was us who disconnected: then it has ended already.
process.on('disconnect', () => void keeping.end().then(() => process.exit(0)));

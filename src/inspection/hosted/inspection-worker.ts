import { PortDisk } from '../../disks/port/port-disk.js';
import { StillError } from '../../errors.js';
import { crc32c } from '../../filesystems/crc32c.js';
import { answerRequests } from '../../port/answer-requests.js';
import { serveTree } from '../../tree/port/serve-tree.js';
import { GuestDisks } from '../guest-disks.js';
import { parseRequest } from './messages.js';

/** What the worker of one guest's disks runs: looks into them, and serves the trees of their file systems. */
let opened: GuestDisks | undefined;

// Most metadata has a checksum, from the first listing on: V8 has it compiled by then, for the worker waits.
crc32c(0, Buffer.alloc(1 << 20));

answerRequests(async (data, signal) => {
  const request = parseRequest(data);
  switch (request.kind) {
    case 'open': {
      const disks = request.disks.map(({ name, port, facts }) => ({ name, disk: new PortDisk(port, facts) }));
      const tell = (sentence: string): void => request.told.postMessage(sentence);
      opened = await GuestDisks.open(disks, tell, signal);
      return { value: opened.volumes };
    }
    case 'system':
      return { value: await looked().system(signal) };
    case 'tree':
      serveTree(looked().tree(request.volume), request.port);
      return { value: undefined };
  }
});

function looked(): GuestDisks {
  if (opened) return opened;
  throw new StillError('EINVAL', 'nothing is known of the disks before they have been looked into');
}

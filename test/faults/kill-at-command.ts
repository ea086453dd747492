/**
 * Loaded into every Node process of the daemon under test (NODE_OPTIONS=--import=…): when a keeper is about to give QEMU its
 * Nth command, somebody is killed with SIGKILL. So each step of taking and ending a snapshot can be the last one.
 *
 * STILLFS_KILL: `WHO N`; WHO is `keeper`, `daemon` or `both`. STILLFS_KILL_NOTE: a file that gets a line when it happened.
 */
import { appendFileSync } from 'node:fs';
import { Socket } from 'node:net';

const [who, count] = (process.env.STILLFS_KILL ?? '').split(' ');
const note = process.env.STILLFS_KILL_NOTE;

if (process.argv[1]?.endsWith('keeper-process.js') && who && count && note) {
  const daemon = process.ppid;
  let left = Number(count);
  const write = Socket.prototype.write;
  Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
    const [chunk] = args;
    const [, command] =
      /"execute":"([^"]+)"/.exec(Buffer.isBuffer(chunk) ? chunk.toString('latin1') : '') ?? [];
    if (command !== undefined && --left === 0) {
      appendFileSync(note, `${who} before ${command}\n`);
      if (who !== 'keeper') process.kill(daemon, 'SIGKILL');
      if (who !== 'daemon') process.kill(process.pid, 'SIGKILL');
    }
    return Reflect.apply(write, this, args);
  };
}

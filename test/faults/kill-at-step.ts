/**
 * Loaded into every Node process of the daemon under test (NODE_OPTIONS=--import=…): when a keeper is about to give QEMU or the
 * agent a command, to freeze a container or to let it go on, or to change a file of the state folder, somebody is killed with
 * SIGKILL. So each step of taking and ending a snapshot can be the last one.
 *
 * STILLFS_KILL_ORDERS names a file with lines `WHO N`; WHO is `keeper`, `daemon`, `both`, or `itself` for a daemon that is about to
 * change its Nth file; `stop:PID` stops a process instead (SIGSTOP). The first line holds for whoever comes to its Nth step first, and is gone then. `FILE.steps` gets a line for
 * each step of a keeper, `FILE.killed` one for each order that was carried out.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { Socket } from 'node:net';

const orders = process.env.STILLFS_KILL_ORDERS;
const isKeeper = process.argv[1]?.endsWith('keeper-process.js') ?? false;

if (orders !== undefined) {
  const daemon = process.ppid;
  let steps = 0;
  const step = (what: string): void => {
    steps++;
    if (isKeeper) appendFileSync(`${orders}.steps`, `${what}\n`);
    const [first = '', ...later] = existsSync(orders) ? readFileSync(orders, 'utf8').split('\n') : [];
    const [who, count] = first.split(' ');
    if (!who || Number(count) !== steps || isKeeper === (who === 'itself')) return;
    writeFileSync(orders, later.join('\n'));
    appendFileSync(`${orders}.killed`, `${who} before ${what}\n`);
    if (who.startsWith('stop:')) {
      process.kill(Number(who.slice(5)), 'SIGSTOP');
      return;
    }
    // A keeper whose daemon is gone already has another parent.
    if ((who === 'daemon' || who === 'both') && process.ppid === daemon && daemon !== 1)
      process.kill(daemon, 'SIGKILL');
    if (who !== 'daemon') process.kill(process.pid, 'SIGKILL');
  };

  if (isKeeper) {
    const write = Socket.prototype.write;
    Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
      const [chunk] = args;
      const [, command] =
        /"execute":"([^"]+)"/.exec(Buffer.isBuffer(chunk) ? chunk.toString('latin1') : '') ?? [];
      if (command !== undefined) step(command);
      return Reflect.apply(write, this, args);
    };
  }
  const kindOf = (path: unknown): string => /[^.]*$/.exec(String(path))?.[0] ?? '';
  const { rename, rm, writeFile } = files;
  files.rename = (from, to) => {
    step(`writing a .${kindOf(to)}`);
    return rename(from, to);
  };
  files.rm = (path, options) => {
    // Of what a daemon removes counts what others find: a record.
    if (isKeeper || String(path).endsWith('.snapshot.json')) step(`removing a .${kindOf(path)}`);
    return rm(path, options);
  };
  files.writeFile = (path, data, options) => {
    if (isKeeper && kindOf(path) === 'freeze') step(data === '1' ? 'freezing' : 'thawing');
    return writeFile(path, data, options);
  };
  syncBuiltinESMExports();
}

/**
 * Loaded into a provider under test (NODE_OPTIONS=--import=…): kills it (SIGKILL) when it is about to change a file or a folder for
 * the Nth time, so that each of its steps can be the last one. STILLFS_KILL_STEP is N, 0 for never; each step is a line in the file
 * STILLFS_KILL_STEPS. STILLFS_KILL_SIGNAL names another signal.
 */
import { appendFileSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const steps = process.env.STILLFS_KILL_STEPS;
const last = Number(process.env.STILLFS_KILL_STEP);

const commands = ['backup', 'prune'];
const signal = process.env.STILLFS_KILL_SIGNAL ?? 'SIGKILL';

if (steps !== undefined && process.argv.some((argument) => commands.includes(argument))) {
  let count = 0;
  const step = (what: string, path: unknown): void => {
    count++;
    const shown = String(path)
      .replace(/.*\//, '')
      .replace(/[0-9a-f]{12}/g, 'RANDOM')
      .replace(/\d{8}T\d{6}Z/g, 'TIME');
    appendFileSync(steps, `${what} ${shown}\n`);
    if (count === last) process.kill(process.pid, signal);
  };
  const { copyFile, mkdir, open, rename, rm, rmdir, writeFile } = files;
  files.mkdir = ((path: string, options: undefined) => {
    step('mkdir', path);
    return mkdir(path, options);
  }) as typeof mkdir;
  files.open = (path, flags, mode) => {
    if (typeof flags === 'string' && flags !== 'r') step('open', path);
    return open(path, flags, mode);
  };
  files.rename = (from, to) => {
    step('rename to', to);
    return rename(from, to);
  };
  files.rm = (path, options) => {
    step('rm', path);
    return rm(path, options);
  };
  files.rmdir = (path, options) => {
    step('rmdir', path);
    return rmdir(path, options);
  };
  files.writeFile = (path, data, options) => {
    step('write', path);
    return writeFile(path, data, options);
  };
  files.copyFile = (from, to, mode) => {
    step('copy to', to);
    return copyFile(from, to, mode);
  };
  syncBuiltinESMExports();
}

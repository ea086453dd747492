import { constants as fs } from 'node:fs';
import { lstat, open, readFile, readlink, stat } from 'node:fs/promises';
import { constants } from 'node:os';
import { expect } from 'vitest';
import { errnoOf } from '../../../src/errors.js';
import { nameFromText } from '../../../src/name.js';
import { readDirectory } from '../../../src/posix/getdents.js';
import { getXattr, listXattrs } from '../../../src/posix/xattr.js';
import { errnos, failingOperations } from '../trees/errors.js';
import { type Behaviour, shell } from './behaviour.js';

const O_PATH = 0o10000000;

async function byDescriptor(
  path: string,
  use: (descriptor: number) => Promise<unknown>,
  flags = O_PATH | fs.O_NOFOLLOW,
): Promise<void> {
  const file = await open(path, flags);
  try {
    await use(file.fd);
  } finally {
    await file.close();
  }
}

/** The number of the error that a call fails with; Node has no name for some. */
async function errnoOfCall(call: Promise<unknown>): Promise<number | undefined> {
  try {
    await call;
    return undefined;
  } catch (error) {
    if (error instanceof Error && 'errno' in error) return -Number(error.errno);
    return errnoOf(error);
  }
}

const attempts: Readonly<Record<(typeof failingOperations)[number], (path: string) => Promise<unknown>>> = {
  lookup: (path) => lstat(path),
  attributes: async (path) => {
    const file = await open(path);
    try {
      await file.stat();
    } finally {
      await file.close();
    }
  },
  list: (path) => byDescriptor(path, (descriptor) => readDirectory(descriptor, 0n), fs.O_DIRECTORY),
  readlink: (path) => readlink(path),
  xattr: (path) => byDescriptor(path, (descriptor) => getXattr(descriptor, nameFromText('user.any'))),
  xattrs: (path) => byDescriptor(path, listXattrs),
  open: (path) => open(path),
  read: (path) => readFile(path),
};

/** The number of the error that an operation on a path fails with. */
export function attemptOf(
  operation: (typeof failingOperations)[number],
  path: string,
): Promise<number | undefined> {
  return errnoOfCall(attempts[operation](path));
}

/** Failures come to the caller as they are. */
export const errors: readonly Behaviour[] = [
  ...failingOperations.map(
    (operation): Behaviour => ({
      must: `an error of ${operation} reaches the caller with its errno`,
      async check({ shared }) {
        for (const code of errnos) {
          const path = shared.path('errors', operation, code);
          // listXattrs answers "none" where a file system has none at all.
          const none = operation === 'xattrs' && code === 'EOPNOTSUPP';
          expect(await attemptOf(operation, path), code).toBe(none ? undefined : constants.errno[code]);
        }
      },
    }),
  ),
  {
    must: 'a mistake in the program is EIO, one line in the log with operation and path, and all else goes on',
    async check({ shared }) {
      await expect(readFile(shared.path('broken', 'read-throws'))).rejects.toMatchObject({ code: 'EIO' });
      await expect(stat(shared.path('broken', 'lookup-throws'))).rejects.toMatchObject({ code: 'EIO' });
      await expect(stat(shared.path('broken', 'lookup-throws-text'))).rejects.toMatchObject({ code: 'EIO' });
      const said = (wanted: string): readonly string[] => shared.log.filter((line) => line.includes(wanted));
      await expect.poll(() => said('lookup met undefined')).toHaveLength(1);
      expect(said('lookup met undefined')[0]).toMatch(/(lookup|getattr) of \/broken\/lookup-throws failed/i);
      // The kernel may ask for the same bytes twice.
      expect(said('read met undefined').length).toBeGreaterThan(0);
      for (const line of said('read met undefined'))
        expect(line).toMatch(/read of \/broken\/read-throws failed/i);
      expect((await readFile(shared.path('broken', 'fine'))).length).toBe(4096);
    },
  },
  {
    must: 'a worker that goes wrong is EIO in its own tree, with the reason in the log; others are not touched',
    hosting: 'worker',
    async check({ fresh }) {
      for (const [file, reason] of [
        ['exits', 'ended with code 7'],
        ['hangs', 'was silent for 2 seconds'],
        ['takes-memory', 'needed more than the 96 MiB'],
      ] as const) {
        const mounted = await fresh('all');
        const other = await open(mounted.path('twin-a', 'folder', 'file-0'));
        try {
          await expect(readFile(mounted.path('broken', file)), file).rejects.toMatchObject({ code: 'EIO' });
          await expect(readFile(mounted.path('broken', 'fine')), file).rejects.toMatchObject({ code: 'EIO' });
          expect((await other.readFile()).toString()).toBe('twin a, file 0');
          expect((await shell('cat "$1"', mounted.path('twin-b', 'folder', 'file-1'))).toString()).toBe(
            'twin b, file 1',
          );
          await expect.poll(() => mounted.log.some((line) => line.includes(reason))).toBe(true);
        } finally {
          await other.close();
        }
      }
    },
  },
];

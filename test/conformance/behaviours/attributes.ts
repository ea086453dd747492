import { constants } from 'node:fs';
import { lstat, open, stat, statfs } from 'node:fs/promises';
import { execa } from 'execa';
import { expect } from 'vitest';
import { nameFromText } from '../../../src/name.js';
import { type FileStatus, statusOf } from '../../../src/posix/statx.js';
import { getXattr, listXattrs } from '../../../src/posix/xattr.js';
import { capacity, described } from '../trees/attributes.js';
import { attributed, largest } from '../trees/xattrs.js';
import { type Behaviour, run, type Trial } from './behaviour.js';

const O_PATH = 0o10000000;

async function descriptorOf<T>(path: string, use: (descriptor: number) => Promise<T>): Promise<T> {
  const file = await open(path, O_PATH | constants.O_NOFOLLOW);
  try {
    return await use(file.fd);
  } finally {
    await file.close();
  }
}

export function statusAt({ shared }: Trial, name: string): Promise<FileStatus> {
  return descriptorOf(shared.path('attributes', name), statusOf);
}

/** Runs a program as somebody who owns nothing in a mount. */
async function asOther(
  ...command: string[]
): Promise<{ readonly failed: boolean; readonly stdout: string; readonly stderr: string }> {
  return execa('setpriv', ['--reuid=12345', '--regid=12345', '--clear-groups', '--', ...command], {
    reject: false,
    timeout: 30_000,
    env: { LC_ALL: 'C' },
  });
}

/** What stat(2), statfs(2) and the xattr calls tell. */
export const attributes: readonly Behaviour[] = [
  {
    must: 'owners, permissions, set-id bits, kinds and device numbers are the files own',
    async check(trial) {
      for (const [name, wanted] of Object.entries(described)) {
        const {
          accessed: _1,
          modified: _2,
          changed: _3,
          allocated: _4,
          ...plain
        } = {
          accessed: 0,
          modified: 0,
          changed: 0,
          allocated: 0,
          ...wanted,
        };
        expect(await statusAt(trial, name), name).toMatchObject(plain);
      }
      expect((await stat(trial.shared.path('attributes', 'sticky'))).mode & 0o7777).toBe(0o1777);
    },
  },
  {
    must: 'times have nanoseconds, before 1970 and after 2106 too',
    async check(trial) {
      for (const name of ['nanosecond-times', 'before-1970', 'after-2106'] as const) {
        expect(await statusAt(trial, name), name).toMatchObject(described[name]);
      }
    },
  },
  {
    must: 'sizes beyond 4 GiB are told in full, and st_blocks is what is allocated',
    async check({ shared }) {
      const large = await stat(shared.path('attributes', 'beyond-4-gib'));
      expect(large).toMatchObject({ size: 2 ** 40 + 7, blocks: 0 });
      const thin = await stat(shared.path('attributes', 'thin'));
      expect(thin).toMatchObject({ size: 2 ** 30, blocks: 9 });
    },
  },
  {
    must: 'the names of a hard-linked file are one file',
    async check({ shared }) {
      const one = await lstat(shared.path('attributes', 'hard-link-1'));
      const other = await lstat(shared.path('attributes', 'hard-link-2'));
      expect(one.nlink).toBe(2);
      expect(other.nlink).toBe(2);
      expect(other.ino).toBe(one.ino);
    },
  },
  {
    must: 'statfs tells the capacity of the tree',
    async check({ shared }) {
      const { blocks, bfree, bavail, bsize, files } = await statfs(shared.path('attributes'));
      expect([blocks * bsize, bfree * bsize, bavail * bsize, files]).toEqual([
        capacity.total,
        capacity.free,
        capacity.free,
        capacity.files,
      ]);
    },
  },
  {
    must: 'extended attributes come whole, up to 64 KiB, and all of their names',
    async check({ shared }) {
      for (const [file, values] of Object.entries(attributed)) {
        await descriptorOf(shared.path('xattrs', file), async (descriptor) => {
          expect((await listXattrs(descriptor)).sort(), file).toEqual(Object.keys(values).sort());
          for (const [name, value] of Object.entries(values)) {
            const told = await getXattr(descriptor, nameFromText(name));
            expect(Buffer.from(told).equals(value), name).toBe(true);
          }
        });
      }
      const printed = await run(
        'getfattr',
        '--absolute-names',
        '--only-values',
        '-n',
        'user.large',
        shared.path('xattrs', 'large'),
      );
      expect(printed).toHaveLength(largest);
    },
  },
  {
    must: 'an extended attribute that is not there is ENODATA',
    async check({ shared }) {
      await descriptorOf(shared.path('xattrs', 'one'), async (descriptor) => {
        await expect(getXattr(descriptor, nameFromText('user.other'))).rejects.toMatchObject({
          code: 'ENODATA',
        });
      });
    },
  },
  {
    must: 'other users see what permissions let them see, and no more',
    async check({ shared }) {
      const at = (name: string): string => shared.path('attributes', name);
      expect(await asOther('cat', at('hard-link-1'))).toMatchObject({
        failed: false,
        stdout: 'one file, two names',
      });
      for (const refused of [
        ['cat', at('private')],
        ['cat', at('no-permissions')],
        ['ls', at('not-for-others')],
        ['mkdir', shared.path('writable', 'snapshots', 'mine')],
        ['dd', 'if=/dev/null', `of=${shared.path('writable', 'disk.raw')}`, 'conv=notrunc'],
      ]) {
        const { failed, stderr } = await asOther(...refused);
        expect(stderr, refused.join(' ')).toContain('Permission denied');
        expect(failed).toBe(true);
      }
    },
  },
  {
    must: 'other users see nothing at all where they are not let in',
    async check({ fresh }) {
      const mounted = await fresh('attributes', { allowOther: false });
      expect((await stat(mounted.path('plain'))).uid).toBe(1234);
      for (const refused of [
        ['ls', mounted.mountpoint],
        ['cat', mounted.path('hard-link-1')],
      ]) {
        const { failed, stderr } = await asOther(...refused);
        expect(failed, refused.join(' ')).toBe(true);
        expect(stderr).toContain('Permission denied');
      }
    },
  },
];

import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  stat,
  statfs,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { nameFromText, nameToText } from '../../../src/name.js';
import { unmount } from '../../../src/posix/unmount.js';
import { getXattr, listXattrs } from '../../../src/posix/xattr.js';
import { Served } from './served.js';
import { moments, sparse, xattr } from './trees.js';

let served: Served | undefined;

async function serve(tree: string, options: object = {}): Promise<Served> {
  served = await Served.start(tree, options);
  return served;
}

async function isMounted(mountpoint: string): Promise<boolean> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${mountpoint} `);
}

afterEach(async () => {
  await served?.stop();
  served = undefined;
});

describe('beginning and end', () => {
  test('the tree answers once the mount is ready, under the source that was given', async () => {
    const { mountpoint, path } = await bound('everything', { source: 'a, b\\c' });
    expect(await readFile(path('folder', 'hello'), 'utf8')).toBe('hello, world\n');
    const table = await readFile('/proc/self/mountinfo', 'utf8');
    const row = table.split('\n').find((line) => line.includes(` ${mountpoint} `));
    expect(row).toMatch(/nosuid,nodev.* - fuse\.stillfs a_\\040b_c rw/);
  });

  test('a busy mount is not ended, and serves on; the process ends by itself once it is not', async () => {
    const one = await serve('everything');
    const file = await open(one.path('folder', 'hello'));
    expect(await one.ask('unmount')).toBe('EBUSY');
    expect((await file.read()).bytesRead).toBe(13);
    expect((await one.counts()).files).toBe(1);
    await file.close();
    expect(await one.ask('unmount')).toBe('ok');
    expect(await one.exited()).toBe(0);
    expect(await isMounted(one.mountpoint)).toBe(false);
  });

  test('a mount that somebody else ends is noticed: the process lets go and ends by itself', async () => {
    const one = await serve('everything');
    await stat(one.path('folder'));
    await unmount(one.mountpoint, false);
    expect(await one.exited()).toBe(0);
  });

  test('force ends a mount whose tree never answers, and the wait of who reads it', async () => {
    const one = await serve('hung');
    const read = readFile(one.path('hung'));
    const failed = expect(read).rejects.toMatchObject({
      code: expect.stringMatching(/ENOTCONN|ECONNABORTED|EIO/),
    });
    while ((await one.counts()).requests === 0);
    expect(await one.ask('unmount by force')).toBe('ok');
    await failed;
    expect(await one.exited()).toBe(0);
    expect(await isMounted(one.mountpoint)).toBe(false);
  });

  test('a read that nobody answers is ETIMEDOUT, said once in the log; others are answered meanwhile', async () => {
    const one = await serve('hung', { limits: { usual: 300, changing: 300 } });
    const hung = readFile(one.path('hung'));
    expect(await readFile(one.path('well'), 'utf8')).toBe('well');
    await expect(hung).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await expect(readFile(one.path('hung'))).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    expect(one.log.split('\n').filter((line) => line.includes('/hung'))).toHaveLength(1);
    expect((await one.counts()).requests).toBe(0);
  });

  test('what can not be mounted on is refused with the reason', async () => {
    await expect(serve('everything', { mountpoint: '/dev/fd/3' })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(serve('everything', { mountpoint: '/nowhere' })).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(serve('everything', { mountpoint: '/etc/passwd' })).rejects.toMatchObject({
      code: 'ENOTDIR',
    });
    await expect(serve('everything', { mountpoint: '/proc' })).rejects.toMatchObject({ code: 'EBUSY' });
    const long = { mountpoint: `/tmp/${'x/'.repeat(600)}` };
    await expect(serve('everything', long)).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
  });
});

describe('what comes through', () => {
  test('sizes, blocks and offsets beyond 32 bits', async () => {
    const { path } = await bound('everything');
    const found = await stat(path('sparse'), { bigint: true });
    expect([found.size, found.blocks]).toEqual([BigInt(sparse.size), BigInt(sparse.size / 512)]);
    const file = await open(path('sparse'));
    try {
      const bytes = Buffer.alloc(sparse.bytes.length + 2);
      await file.read(bytes, 0, bytes.length, sparse.data - 1);
      expect(bytes.toString('latin1')).toBe(`\0${sparse.bytes}\0`);
      expect((await file.read(bytes, 0, bytes.length, sparse.size - 1)).bytesRead).toBe(1);
      expect((await file.stat({ bigint: true })).size).toBe(BigInt(sparse.size));
    } finally {
      await file.close();
    }
  });

  test('times to the millisecond, also after 2106; those before 1970 are 1970', async () => {
    const { path } = await bound('everything');
    for (const [name, { seconds, nanoseconds }] of Object.entries(moments)) {
      const whole = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
      const told = whole < 0n ? 0n : whole - (whole % 1_000_000n);
      const { mtimeNs, atimeNs, ctimeNs } = await stat(path('times', name), { bigint: true });
      expect([name, mtimeNs, atimeNs, ctimeNs]).toEqual([name, told, told, told]);
    }
  });

  test('hard links are counted, devices are themselves, symlinks lead on', async () => {
    const { path } = await bound('everything');
    expect((await stat(path('folder', 'first'))).nlink).toBe(2);
    expect((await stat(path('folder', 'null'))).rdev).toBe((1 << 8) | 3);
    expect((await stat(path('folder', 'large-device'))).rdev).toBe(0x12300000 + (259 << 8) + 0x45);
    expect(await readlink(path('folder', 'target'))).toBe('hello');
    await expect(readlink(path('folder', 'bad-target'))).rejects.toMatchObject({ code: 'EILSEQ' });
  });

  test('extended attributes of any length, and ERANGE where there is too little room', async () => {
    const { path } = await bound('everything');
    const file = await open(path('attributed'));
    try {
      // getXattr asks with 256 bytes of room first, and with 64 KiB after an ERANGE.
      expect((await getXattr(file.fd, nameFromText(xattr.name))).length).toBe(xattr.bytes);
      expect((await getXattr(file.fd, nameFromText('user.empty'))).length).toBe(0);
      await expect(getXattr(file.fd, nameFromText('user.none'))).rejects.toMatchObject({ code: 'ENODATA' });
      expect((await listXattrs(file.fd)).map(nameToText)).toEqual([xattr.name, 'user.empty']);
    } finally {
      await file.close();
    }
  });

  test('names that are not UTF-8 are left out, and the log says where', async () => {
    const one = await serve('everything');
    const names = await readdir(one.path('folder'));
    expect(names).toEqual(expect.arrayContaining(['good', 'grün', 'damaged \ufffd']));
    expect(names).toHaveLength(10);
    await Promise.all(names.map((name) => lstat(one.path('folder', name))));
    const bad = Buffer.concat([Buffer.from(one.path('folder')), Buffer.from('/b\xffd', 'latin1')]);
    await expect(stat(bad)).rejects.toMatchObject({ code: 'ENOENT' });
    await readdir(one.path('folder'));
    expect(one.log.match(/\/folder lists 1 entry fewer/g)).toHaveLength(1);
  });

  test('a folder of 100 000 entries', async () => {
    const { path } = await bound('wide');
    const rows = await readdir(path('folder'), { withFileTypes: true });
    expect(new Set(rows.map(({ name }) => name)).size).toBe(100_000);
    expect(rows.every((row) => row.isFile())).toBe(true);
  });

  test('a tree that reads short before the end of a file is EIO', async () => {
    const one = await serve('everything');
    await expect(readFile(one.path('short'))).rejects.toMatchObject({ code: 'EIO' });
    expect(one.log).toContain('/short gave 10 of 4096 bytes at 0');
  });

  test('what would change something is EROFS', async () => {
    const { path } = await bound('everything');
    const refused = [
      writeFile(path('new'), ''),
      writeFile(path('folder', 'hello'), ''),
      unlink(path('folder', 'hello')),
      mkdir(path('new')),
      chmod(path('folder', 'hello'), 0),
    ];
    for (const result of await Promise.allSettled(refused)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'EROFS' } });
    }
  });

  test('a tree without a capacity has a file system of size 0', async () => {
    const { mountpoint } = await bound('everything');
    expect((await statfs(mountpoint)).blocks).toBe(0);
  });
});

describe('names that are kept', () => {
  test('no more than their bound, however many files are looked at', async () => {
    const one = await serve('everything', { names: 100 });
    for (let index = 0; index < 3000; index++) await stat(one.path('many', `file-${index}`));
    const { names, nodes, forgotten, files } = await one.counts();
    expect(names).toBe(100);
    expect(nodes).toBeLessThanOrEqual(102);
    expect(forgotten).toBeGreaterThanOrEqual(2900);
    expect(files).toBe(0);
  });
});

/** The server, with its path as a function of its own. */
async function bound(
  tree: string,
  options: object = {},
): Promise<{ mountpoint: string; path: Served['path'] }> {
  const one = await serve(tree, options);
  return { mountpoint: one.mountpoint, path: (...names) => one.path(...names) };
}

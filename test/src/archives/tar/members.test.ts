import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import type { Name } from '../../../../src/name.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { contentOf, find, listAll, unhurried, walk } from '../host-folder/walk.js';
import { bytesDisk } from './file-disk.js';
import { archive, endMark, member, pax, withChecksum } from './made-archive.js';
import { type OpenOptions, openTar } from './opened-tar.js';

async function opened(
  bytes: Buffer,
  options: OpenOptions = {},
): Promise<{ tree: Tree; problems: readonly string[] }> {
  return openTar(bytesDisk(bytes), options);
}

async function paths(tree: Tree): Promise<string[]> {
  const found: string[] = [];
  for await (const { path } of walk(tree)) found.push(path);
  return found.sort();
}

async function text(tree: Tree, ...path: string[]): Promise<string> {
  return (await contentOf(tree, await find(tree, ...path))).toString();
}

async function xattrsAt(tree: Tree, ...path: string[]): Promise<Record<string, string>> {
  const { inode } = await find(tree, ...path);
  const values: Record<string, string> = {};
  for (const name of await tree.xattrs(inode, unhurried))
    values[name] = Buffer.from(await tree.xattr(inode, name, unhurried)).toString('latin1');
  return values;
}

describe('names', () => {
  it('have no way out of the archive', async () => {
    const { tree, problems } = await opened(
      archive(
        member({ name: '/etc/absolute', data: 'a' }),
        member({ name: './here//twice', data: 'b' }),
        member({ name: '../../up/and/away', data: 'c' }),
        member({ name: 'in/../../out', data: 'd' }),
        member({ name: 'folder/', type: '5' }),
        pax({ path: 'nul\0name' }),
        member({ name: 'keeps-its-header-name' }),
      ),
    );
    const expected = [
      'up',
      'up/and',
      'up/and/away',
      'etc',
      'etc/absolute',
      'here',
      'here/twice',
      'folder',
      'out',
    ];
    expect(await paths(tree)).toEqual([...expected, 'keeps-its-header-name'].sort());
    expect(problems.join('\n')).toMatch(/leads out of the archive/);
    const up = await find(tree, 'up');
    expect((await tree.lookup(up.inode, '..' as Name, unhurried)).attributes?.inode).toBe(tree.root);
    expect((await tree.lookup(tree.root, '..' as Name, unhurried)).attributes?.inode).toBe(tree.root);
  });

  it('that are too long or lie below a file are left out and told', async () => {
    const { tree, problems } = await opened(
      archive(
        pax({ path: `long/${'n'.repeat(256)}` }),
        member({ name: 'x' }),
        member({ name: 'file', data: 'f' }),
        member({ name: 'file/below' }),
        member({ name: 'after', data: 'good' }),
      ),
    );
    expect(await paths(tree)).toEqual(['after', 'file']);
    expect(problems).toHaveLength(2);
    expect(problems[1]).toMatch(/"file\/below" is left out: "file" is no folder/);
  });

  it('given twice stand for the last file, and a folder keeps what is in it', async () => {
    const { tree, problems } = await opened(
      archive(
        member({ name: 'twice', data: 'old' }),
        member({ name: 'link-to-old', type: '1', target: 'twice' }),
        member({ name: 'twice', data: 'new one' }),
        member({ name: 'd/', type: '5', mode: 0o700 }),
        member({ name: 'd/file', data: 'within' }),
        member({ name: 'd/', type: '5', mode: 0o711 }),
        member({ name: 'd', data: 'a file now' }),
      ),
    );
    expect(await text(tree, 'twice')).toBe('new one');
    expect(await text(tree, 'link-to-old')).toBe('old');
    expect((await find(tree, 'twice')).links).toBe(1);
    expect(await text(tree, 'd', 'file')).toBe('within');
    expect((await find(tree, 'd')).permissions).toBe(0o711);
    expect((await listAll(tree, tree.root)).map(({ name }) => name).sort()).toEqual([
      'd',
      'link-to-old',
      'twice',
    ]);
    expect(problems).toEqual(['"d" is left out: a folder that is not empty has its name.']);
  });

  it('of folders that are only implied lead to folders', async () => {
    const { tree } = await opened(archive(member({ name: 'a/b/c/file', data: 'deep' })));
    expect(await find(tree, 'a', 'b')).toMatchObject({
      type: 'directory',
      permissions: 0o755,
      links: 3,
      uid: 0,
    });
  });

  it('in a folder of many are listed once each and found', async () => {
    const members = Array.from({ length: 3000 }, (_, each) =>
      member({ name: `many/${each}`, data: `${each}` }),
    );
    const { tree } = await opened(archive(...members));
    const many = await find(tree, 'many');
    const names = (await listAll(tree, many.inode)).map(({ name }) => name);
    expect(names).toHaveLength(3000);
    expect(new Set(names).size).toBe(3000);
    expect(await text(tree, 'many', '2999')).toBe('2999');
    expect((await tree.lookup(many.inode, '3000' as Name, unhurried)).attributes).toBeUndefined();
  });
});

describe('hard links', () => {
  it('share the file with members seen before and later, also through other links', async () => {
    const { tree, problems } = await opened(
      archive(
        member({ name: 'early', type: '1', target: 'middle' }),
        member({ name: 'middle', type: '1', target: './late' }),
        member({ name: 'late', data: 'the file' }),
        member({ name: 'after', type: '1', target: '/late' }),
      ),
    );
    expect(problems).toEqual([]);
    const late = await find(tree, 'late');
    expect(late.links).toBe(4);
    for (const name of ['early', 'middle', 'after']) expect((await find(tree, name)).inode).toBe(late.inode);
    expect(await text(tree, 'early')).toBe('the file');
  });

  it('to nothing, to each other and to folders are told, and reading them is EIO', async () => {
    const { tree, problems } = await opened(
      archive(
        member({ name: 'nothing', type: '1', target: 'gone' }),
        member({ name: 'a', type: '1', target: 'b' }),
        member({ name: 'b', type: '1', target: 'a' }),
        member({ name: 'd/', type: '5' }),
        member({ name: 'to-folder', type: '1', target: 'd' }),
      ),
    );
    for (const name of ['nothing', 'a', 'b']) {
      const { inode } = await find(tree, name);
      await expect(tree.open(inode, 'read', unhurried)).rejects.toMatchObject({ code: 'EIO' });
    }
    expect((await tree.lookup(tree.root, 'to-folder' as Name, unhurried)).attributes).toBeUndefined();
    expect(problems.length).toBeGreaterThanOrEqual(3);
  });
});

describe('numbers and headers', () => {
  it('in base 256, negative ones too, are told as they are', async () => {
    const size = Buffer.from('80000000000000000000000a', 'hex');
    const time = Buffer.from('ffffffffffffffffffffff85', 'hex');
    const uid = Buffer.from('80000000fffffffe', 'hex');
    const { tree } = await opened(
      archive(
        member({
          name: 'f',
          data: '0123456789',
          magic: 'gnu',
          fields: [
            [124, size],
            [136, time],
            [108, uid],
          ],
        }),
      ),
    );
    expect(await find(tree, 'f')).toMatchObject({
      size: 10,
      uid: 0xfffffffe,
      modified: { seconds: -123, nanoseconds: 0 },
    });
  });

  it('with a checksum of signed bytes are headers', async () => {
    const header = member({ name: Buffer.from([0xff, 0xe9]), data: 'odd' });
    withChecksum(header, true);
    const { tree, problems } = await opened(archive(header));
    expect(problems).toEqual([]);
    expect((await listAll(tree, tree.root)).map(({ name }) => name)).toEqual(['\xff\xe9']);
  });

  it('that are damaged lose their member alone', async () => {
    const damaged = member({ name: 'lost', data: 'lost' });
    damaged[3] = 0x21;
    const { tree, problems } = await opened(
      archive(member({ name: 'before', data: '1' }), damaged, member({ name: 'behind', data: '2' })),
    );
    expect(await paths(tree)).toEqual(['before', 'behind']);
    expect(problems).toHaveLength(1);
  });

  it('behind the end mark are not looked at', async () => {
    const { tree, problems } = await opened(
      Buffer.concat([archive(member({ name: 'first' })), archive(member({ name: 'second' }))]),
    );
    expect(await paths(tree)).toEqual(['first']);
    expect(problems).toEqual([]);
  });

  it('of an empty archive, or of no bytes at all, are an empty folder', async () => {
    for (const bytes of [endMark, Buffer.alloc(0)]) {
      const { tree, problems } = await opened(bytes);
      expect(await paths(tree)).toEqual([]);
      expect(problems).toEqual([]);
      expect(await tree.attributes(tree.root, unhurried)).toMatchObject({ type: 'directory', inode: 1n });
    }
  });

  it('of unknown kinds and of other volumes are left out by name', async () => {
    const { tree, problems } = await opened(
      archive(
        member({ name: 'goes-on', type: 'M', data: 'rest', magic: 'gnu' }),
        member({ name: 'strange', type: 'Q', data: 'what' }),
        member({ name: 'label', type: 'V', magic: 'gnu' }),
        member({ name: 'good', data: 'good' }),
      ),
    );
    expect(await paths(tree)).toEqual(['good']);
    expect(problems).toHaveLength(2);
    expect(problems[0]).toMatch(/"goes-on" is left out: it goes on from another volume/);
    expect(problems[1]).toMatch(/"strange".*"Q"/);
  });
});

describe('extended headers', () => {
  it('go before the header and global ones, for one member', async () => {
    const { tree } = await opened(
      archive(
        pax({ uid: '70000', mtime: '5.25' }, 'g'),
        pax({ path: 'ünïcödé', uid: '80000', atime: '7', ctime: '-1.5', gid: '4000000000' }),
        member({ name: 'plain' }),
        member({ name: 'next' }),
      ),
    );
    expect(await find(tree, 'ünïcödé')).toMatchObject({
      uid: 80000,
      gid: 4_000_000_000,
      modified: { seconds: 5, nanoseconds: 250_000_000 },
      accessed: { seconds: 7, nanoseconds: 0 },
      changed: { seconds: -2, nanoseconds: 500_000_000 },
    });
    expect(await find(tree, 'next')).toMatchObject({ uid: 70000, gid: 1001 });
  });

  it('hold extended attributes in every form, and ACLs as the kernel has them', async () => {
    const { tree, problems } = await opened(
      archive(
        pax({
          'SCHILY.xattr.user.a%3Db%25': Buffer.from('v\0=\n', 'latin1'),
          'LIBARCHIVE.xattr.user.%41x': Buffer.from('value').toString('base64'),
          'RHT.security.selinux': 'system_u:object_r:etc_t:s0',
          'SCHILY.acl.access': 'user::rw-,user:somebody:r--:1234,group::r--,mask::r--,other::---',
        }),
        member({ name: 'f' }),
        pax({ 'SCHILY.acl.access': 'user::rw-\ngroup::r--\nother::r--\n' }),
        member({ name: 'no-more-than-mode' }),
      ),
    );
    expect(problems).toEqual([]);
    const { 'system.posix_acl_access': acl, ...others } = await xattrsAt(tree, 'f');
    expect(others).toEqual({
      'user.a=b%': 'v\0=\n',
      'user.Ax': 'value',
      'security.selinux': 'system_u:object_r:etc_t:s0\0',
    });
    expect(Buffer.from(acl ?? '', 'latin1').toString('hex')).toBe(
      ['02000000', '01000600ffffffff', '02000400d2040000', '04000400ffffffff', '10000400ffffffff'].join('') +
        '20000000ffffffff',
    );
    expect(await xattrsAt(tree, 'no-more-than-mode')).toEqual({});
  });

  it('that are damaged are told, and the member is there', async () => {
    const { tree, problems } = await opened(
      archive(
        member({ name: 'x', type: 'x', data: '99 path=too short\n' }),
        member({ name: 'f', data: 'content' }),
      ),
    );
    expect(await text(tree, 'f')).toBe('content');
    expect(problems).toHaveLength(1);
  });
});

describe('an archive that was cut short', () => {
  it('shows all that is there; what is missing is EIO', async () => {
    const whole = archive(
      member({ name: 'whole', data: 'w'.repeat(600) }),
      member({ name: 'cut', data: 'c'.repeat(5000) }),
    );
    const { tree, problems } = await opened(whole.subarray(0, 512 + 1024 + 512 + 2048));
    expect(await text(tree, 'whole')).toBe('w'.repeat(600));
    const cut = await find(tree, 'cut');
    expect(cut.size).toBe(5000);
    const { handle } = await tree.open(cut.inode, 'read', unhurried);
    expect(await tree.read(handle, 0, Buffer.alloc(2048), unhurried)).toBe(2048);
    await expect(tree.read(handle, 0, Buffer.alloc(4096), unhurried)).rejects.toMatchObject({ code: 'EIO' });
    expect(problems).toEqual([
      'The archive ends without its end mark: it may have been cut short.',
      '"cut" is cut short: the archive ends 2952 bytes before the file does.',
    ]);
  });
});

describe('the index', () => {
  it('takes no more memory than it may: the rest is left out and told', async () => {
    const members = Array.from({ length: 5000 }, (_, each) => member({ name: `f${each}` }));
    const { tree, problems } = await opened(archive(...members), { mostIndexBytes: 50_000 });
    const count = (await listAll(tree, tree.root)).length;
    expect(count).toBeGreaterThan(300);
    expect(count).toBeLessThan(1000);
    expect(problems).toEqual([
      'The archive has more files than can be shown: those at its end are left out.',
    ]);
  });

  it('skips what lies between headers', async () => {
    const bytes = archive(
      member({ name: 'large', data: Buffer.alloc(8 << 20, 1) }),
      member({ name: 'next' }),
    );
    let read = 0;
    const disk = bytesDisk(bytes);
    const counting = {
      ...disk,
      read: (offset: number, target: Uint8Array) => {
        read += target.length;
        return disk.read(offset, target);
      },
    };
    const { tree } = await openTar(counting, { signal: unhurried });
    expect(await paths(tree)).toEqual(['large', 'next']);
    expect(read).toBeLessThan(1 << 20);
  });
});

it('python writes other headers, which are read as well', async () => {
  const script = `
import tarfile, io, sys
out = io.BytesIO()
with tarfile.open(fileobj=out, mode='w', format=tarfile.GNU_FORMAT) as t:
    i = tarfile.TarInfo('n' * 120 + '/' + 'f' * 200); i.size = 3; i.mtime = -5; i.uid = 3000000
    t.addfile(i, io.BytesIO(b'abc'))
    i = tarfile.TarInfo('s'); i.type = tarfile.SYMTYPE; i.linkname = 't' * 300
    t.addfile(i)
sys.stdout.buffer.write(out.getvalue())`;
  const { tree, problems } = await opened(execFileSync('python3', ['-c', script]));
  expect(problems).toEqual([]);
  const file = await find(tree, 'n'.repeat(120), 'f'.repeat(200));
  expect(file).toMatchObject({ size: 3, uid: 3_000_000, modified: { seconds: -5 } });
  const link = await find(tree, 's');
  expect(Buffer.from(await tree.readlink(link.inode, unhurried)).toString()).toBe('t'.repeat(300));
});

describe('sizes', () => {
  it('that are negative or beyond all bounds end neither the pass nor the tree', async () => {
    for (const size of ['fffffffffffffffffffffc18', 'ffffffffffffffffffffffff', '800000001fffffffffffffff']) {
      const { tree, problems } = await opened(
        archive(member({ name: 'f', fields: [[124, Buffer.from(size, 'hex')]] }), member({ name: 'next' })),
      );
      expect(await paths(tree)).toEqual(['next']);
      expect(problems).toEqual(['"f" is left out: its header tells no size.']);
    }
  });

  it('of sparse pieces that touch, or are many, give the bytes in their places', async () => {
    const map = [0, 3, 3, 2, 10, 1, 12, 1, 14, 4];
    const { tree } = await opened(
      archive(
        pax({ 'GNU.sparse.size': '20', 'GNU.sparse.map': map.join(), 'GNU.sparse.name': 's' }),
        member({ name: 'x', data: 'abcdefghijk' }),
      ),
    );
    const file = await find(tree, 's');
    expect(file).toMatchObject({ size: 20, allocated: 11 });
    const whole = 'abcde\0\0\0\0\0f\0g\0hijk\0\0';
    expect(await text(tree, 's')).toBe(whole);
    const { handle } = await tree.open(file.inode, 'read', unhurried);
    for (let from = 0; from < 20; from++) {
      for (let to = from + 1; to <= 20; to++) {
        const bytes = Buffer.alloc(to - from);
        await tree.read(handle, from, bytes, unhurried);
        expect(bytes.toString()).toBe(whole.slice(from, to));
      }
    }
    expect(await tree.seek?.(handle, 1, 'hole', unhurried)).toBe(5);
    expect(await tree.seek?.(handle, 5, 'data', unhurried)).toBe(10);
    expect(await tree.seek?.(handle, 18, 'hole', unhurried)).toBe(18);
    await expect(tree.seek?.(handle, 18, 'data', unhurried)).rejects.toMatchObject({ code: 'ENXIO' });
  });
});

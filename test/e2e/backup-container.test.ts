import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BackedUpContainer, unpacked } from '../backups/backed-up-container.js';
import { makeOddities } from '../corpus/oddities.js';
import { compareTrees, type Difference } from '../tree-comparison/compare-trees.js';
import { isUnheldBySquashfs, isUnheldByTar } from '../tree-comparison/unheld.js';
import { stillfs } from './command-line.js';
import { firstId } from './running-container.js';
import { output } from './served-mount.js';

const odd = 'root/odd';
const forms = ['tar.zst', 'tar', 'squashfs', 'folder'] as const;
const kept = ['backup.json', 'backup.log', 'guest.conf', 'guest.conf.sums'];
/** Names of which no list with a line for each can tell. */
const unsayable = ['trailing ', 'new\nline'];

describe('stillfs backup of a running container', () => {
  let backedUp: BackedUpContainer;

  beforeAll(async () => {
    backedUp = await BackedUpContainer.make();
    const { container } = backedUp;
    await container.inside(
      [
        'mkdir -p /root/files/cache /root/files/deep/cache; cd /root/files',
        'echo text >text; ln text second; ln -s text link; dd if=/dev/urandom of=random bs=1k count=700',
        'dd if=/dev/zero of=sparse bs=1 count=1 seek=5000000; chown 5:6 text; chmod 4751 text; mkfifo fifo',
        'touch -d "2001-02-03 04:05:06" text; for n in cache/a deep/cache/b deep/c.tmp d.tmp cached; do echo $n >$n; done',
        'echo nested >/srv/nested/file; mkdir /srv/bound/folder; echo bound >/srv/bound/folder/file',
      ].join('; '),
    );
    const folder = join(container.rootfs, odd);
    await mkdir(folder);
    makeOddities(folder);
    // Paths beyond PATH_MAX can be packed, but by nothing unpacked.
    await output('rm', '-rf', join(folder, 'deep'), join(folder, 'acls'));
    // Ids that the container has: all others are one for it.
    const text = join(container.rootfs, 'root/files/text');
    await output('setfacl', '-m', `u:${firstId + 7}:r,g:${firstId + 8}:rw`, text);
    await output('setfacl', '-d', '-m', `u:${firstId + 7}:r`, join(container.rootfs, 'root/files/cache'));
    await output('chown', `${firstId + 3}:${firstId + 4}`, join(folder, 'names'));
    await container.mount();
  });
  afterAll(() => backedUp?.remove());
  afterEach(async () => {
    expect(await backedUp.left()).toEqual([]);
  });

  it.each(forms)('stores all files, as the container has them: %s', async (form) => {
    const before = await backedUp.container.inside(manifest);
    const { folder, said, described } = await backedUp.backup('--archive', form);
    expect(said).toMatch(new RegExp(` ${form} `));
    const file = {
      'tar.zst': 'archive.tar.zst',
      tar: 'archive.tar',
      squashfs: 'archive.sqfs',
      folder: 'rootfs',
    }[form];
    const sums = form === 'folder' ? [] : [`${file}.sums`];
    expect((await readdir(folder)).sort()).toEqual([file, ...sums, ...kept].sort());
    expect(described).toMatchObject({ type: 'lxc', chain: null, archive: { file } });
    expect(described.archive.storedBytes).toBeGreaterThan(700 * 1024);
    for (const each of sums) expect(await summed(join(folder, each))).toBe(true);

    const files = await unpacked(folder, join(backedUp.container.folder, 'unpacked'));
    expect(await output('sh', '-c', `cd "$1" && ${manifest.replaceAll(' /', ' ./')}`, 'sh', files)).toBe(
      before.replaceAll(/(^| )\//gm, '$1./'),
    );
    await withShown(async (shown) => {
      const differences = await compareTrees(shown, files, form === 'squashfs' ? {} : { holes: 'same' });
      const isUnheld = form === 'squashfs' ? isUnheldBySquashfs : isUnheldByTar;
      const within = (each: Difference): Difference => ({ ...each, path: each.path.replace(`${odd}/`, '') });
      expect(differences.map(within).filter((difference) => !isUnheld(difference))).toEqual([]);
    });
    if (form === 'squashfs') expect(said).toMatch(/squashfs holds no ACLs/);
  });

  it.each([
    'tar.zst',
    'squashfs',
  ] as const)('leaves out what is excluded, and nothing else: %s', async (form) => {
    const { container } = backedUp;
    const patterns = [
      '/root/files/cache/',
      '*.tmp',
      '/root/odd/nodes/',
      '/root/odd/holes/',
      '/root/strange/*',
    ];
    const strange = [...unsayable, 'fine', '#comment', ' leading', '*', 'a[b]', '\\', '+(x)', '!', '... x'];
    await mkdir(join(container.rootfs, 'root/strange'), { recursive: true });
    for (const name of strange) await output('touch', join(container.rootfs, 'root/strange', name));
    const { folder, said, described } = await backedUp.backup(
      ...['--archive', form, '--exclude-mount', '/srv/bound', '--exclude-mount', '/nowhere'],
      ...patterns.flatMap((pattern) => ['--exclude', pattern]),
    );
    expect(described.excluded).toEqual({ patterns, mountPoints: ['/srv/bound'] });
    expect(said).toMatch(/nothing is mounted at \/nowhere/);
    const files = await unpacked(folder, join(container.folder, 'unpacked'));
    expect(await readdir(join(files, 'srv/bound'))).toEqual([]);
    const left = form === 'squashfs' ? ['new\nline'] : unsayable;
    expect((await readdir(join(files, 'root/strange'))).sort()).toEqual([...left].sort());
    expect(said).toMatch(/strange\/new\\+nline.* is kept/);
    const filters = patterns.flatMap((pattern) => ['--filter', `- ${pattern}`]);
    const expected = join(container.folder, 'expected');
    await withShown(async (shown) => {
      await output(
        'rsync',
        '-aHAXS',
        '--numeric-ids',
        ...filters,
        '--filter=- /srv/bound/*',
        `${shown}/`,
        expected,
      );
    });
    await output(
      'rm',
      '-rf',
      join(files, 'root/strange'),
      join(expected, 'root/strange'),
      join(container.rootfs, 'root/strange'),
    );
    const differences = await compareTrees(expected, files);
    const isUnheld = form === 'squashfs' ? isUnheldBySquashfs : isUnheldByTar;
    expect(
      differences
        .map((each) => ({ ...each, path: each.path.replace(`${odd}/`, '') }))
        .filter((each) => !isUnheld(each) && !/^root(\/|$)/.test(each.path)),
    ).toEqual([]);
    await output('rm', '-rf', expected);
  });

  it('is restored to a container that starts, with the files of the first as the host has them', async () => {
    const { container } = backedUp;
    await backedUp.backup();
    const back = join(container.lxcPath, 'back');
    const map = `0:${firstId}:65536`;
    const restored = await stillfs('restore', `${backedUp.store}:201`, '--to', back, '--id-map', map);
    expect(restored.exitCode, restored.stderr).toBe(0);
    const differences = await compareTrees(container.rootfs, join(back, 'rootfs'), { holes: 'same' });
    // What is bound there lies elsewhere on the host; owners that the container does not have are nobody's in a backup.
    const others = differences.filter(({ path }) => !/^srv\/bound|^root\/odd(\/|$)/.test(path));
    expect(others).toEqual([]);

    const conf = await readFile(join(back, 'guest.conf'), 'utf8');
    const lines = conf.split('\n').filter((line) => !/^lxc\.(rootfs\.path|mount\.entry = \/tmp)/.test(line));
    await writeFile(
      join(back, 'config'),
      [...lines, `lxc.rootfs.path = dir:${join(back, 'rootfs')}`, ''].join('\n'),
    );
    await chmod(back, 0o711);
    const inBack = (line: string): Promise<string> =>
      output('lxc-attach', '-P', container.lxcPath, '-n', 'back', '--', '/bin/sh', '-c', line);
    await container.start('back');
    try {
      const text =
        'cat /root/files/text /srv/nested/file /srv/bound/folder/file; stat -c %u /root/files/text';
      expect(await inBack(text)).toBe('text\nnested\nbound\n5\n');
    } finally {
      await output('lxc-stop', '-k', '-P', container.lxcPath, '-n', 'back');
      await output('rm', '-rf', back);
    }
  });

  it('tells which storage of the container is not in the backup', async () => {
    const { omitted } = (await backedUp.backup()).described;
    expect(omitted).toContainEqual({
      path: '/lib',
      reason: "it is /lib of the host, and can't be written by the container",
    });
  });

  it('refuses a disk, and a pattern that is none', async () => {
    expect(await backedUp.run('--disk', 'vda')).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(/guest 201 is a container: it has no disk vda/),
    });
    expect(await backedUp.run('--exclude', '[a')).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/is no pattern/),
    });
  });

  it('stores files that change meanwhile where there is no snapshot, and says so', async () => {
    const { container } = backedUp;
    await container.mount(['snapshot=none', `conf=${container.config}`]);
    const { said } = await backedUp.backup('--archive', 'tar');
    expect(said).toMatch(/there is no instant: these are the files that the container works on/);
    await container.mount();
  });

  /** Does something with the container's files as a snapshot shows them. */
  async function withShown(use: (rootfs: string) => Promise<void>): Promise<void> {
    await backedUp.container.take('compared');
    try {
      await use(backedUp.container.path('compared', 'rootfs'));
    } finally {
      await backedUp.container.finish('compared');
    }
  }
});

/** A line for each file, with its type, mode, owners, second, size and bytes, as busybox and GNU tell alike. */
const manifest = [
  'find /bin /etc /root/files /sbin /srv -type d -exec stat -c "%n %f %u %g %Y" {} \\; | sort',
  'find /bin /etc /root/files /sbin /srv ! -type d -exec stat -c "%n %f %u %g %Y %s %h" {} \\; | sort',
  'find /bin /etc /root/files /sbin /srv -type f -exec sha256sum {} \\; | sort',
].join('; ');

/** Whether a file of checksums is that of the file that it is called after. */
async function summed(path: string): Promise<boolean> {
  const sums = await readFile(path);
  const bytes = await readFile(path.replace(/\.sums$/, ''));
  const blocks = Math.ceil(bytes.length / 2 ** 20);
  const digests = Array.from({ length: blocks }, (_, block) =>
    createHash('sha256')
      .update(bytes.subarray(block * 2 ** 20, (block + 1) * 2 ** 20))
      .digest(),
  );
  return sums.subarray(64, -32).equals(Buffer.concat(digests));
}

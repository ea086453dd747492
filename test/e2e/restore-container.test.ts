import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sumFile } from '../../src/provider/sums/sum-file.js';
import { heard } from '../backups/backed-up-guest.js';
import { makeOddities } from '../corpus/oddities.js';
import { compareTrees } from '../tree-comparison/compare-trees.js';
import { isUnheldBySquashfs, isUnheldByTar } from '../tree-comparison/unheld.js';
import { command, type Run, run } from './command-line.js';
import { output } from './served-mount.js';

/** Where each form of a container is kept: a guest of its own. */
const forms = { 'tar.zst': '1', 'tar.xz': '2', squashfs: '3', folder: '4' } as const;
const time = '20241113T095719Z';
const all = ['--acls', '--xattrs', '--xattrs-include=*', '--numeric-owner', '--sparse', '--format=posix'];

describe('stillfs restore of a container', () => {
  let work: string;
  let store: string;
  let odd: string;
  const sh = (script: string, folder = work): Promise<string> =>
    output('bash', '-euc', `cd "$1" && ${script}`, 'bash', folder);
  const folderOf = async (guest: string): Promise<string> => {
    const folder = join(store, guest, time);
    await mkdir(folder, { recursive: true });
    return folder;
  };
  /** Keeps a folder as a guest's backup, in an archive with checksums. */
  const archived = async (guest: string, folder: string): Promise<string> => {
    const archive = join(await folderOf(guest), 'archive.tar');
    await output('tar', ...all, '-C', folder, '-cf', archive, '.');
    await sumFile(archive);
    return archive;
  };
  const fresh = async (name: string): Promise<string> => {
    const path = join(work, name);
    await rm(path, { recursive: true, force: true });
    return path;
  };
  const restore = (guest: string, ...options: string[]): Promise<Run> =>
    run(process.execPath, [command, 'restore', `${store}:${guest}`, ...options]);

  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), 'stillfs-restore-container-'));
    store = join(work, 'store');
    odd = join(work, 'odd');
    await mkdir(odd);
    makeOddities(odd);
    // Paths beyond PATH_MAX can be packed, but by nothing unpacked.
    await sh('rm -rf deep', odd);
    for (const [form, guest] of Object.entries(forms)) {
      const folder = await folderOf(guest);
      await writeFile(join(folder, 'guest.conf'), 'lxc.uts.name = web\n');
      if (form === 'folder') await output('cp', '-a', '--sparse=auto', odd, join(folder, 'rootfs'));
      else if (form === 'squashfs') {
        await output('mksquashfs', odd, join(folder, 'archive.sqfs'), '-quiet', '-no-progress');
        await sumFile(join(folder, 'archive.sqfs'));
      } else {
        const archive = join(folder, `archive.${form}`);
        await output('tar', ...all, '-C', odd, '--auto-compress', '-cf', archive, '.');
        if (form === 'tar.zst') await sumFile(archive);
      }
    }
    await mkdir(join(work, 'small'));
    await sh(
      `mkdir folder; echo text >text; ln text hard; chown 33:34 text folder; setfacl -m u:33:rw,g:34:r text
       cp /bin/true capable; setcap cap_net_raw+ep capable; mknod null c 1 3; setfattr -n trusted.kept -v yes text
       chmod 4755 text; chown 7:8 .; chmod 751 .`,
      join(work, 'small'),
    );
    await archived('small', join(work, 'small'));
    await mkdir(join(work, 'large'));
    await sh('echo first >a-first; head -c 9000000 /dev/urandom >bytes', join(work, 'large'));
    await archived('large', join(work, 'large'));
  });
  afterAll(() => output('rm', '-rf', work));
  afterEach(async () => {
    expect((await readdir(work)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it.each(Object.entries(forms))('gives back all files as they were: %s', async (form, guest) => {
    const to = await fresh('restored');
    const { exitCode, stdout, stderr } = await restore(guest, '--to', to);
    expect(exitCode, stderr).toBe(0);
    const verified = form === 'tar.zst' || form === 'squashfs' ? 'yes' : '-';
    expect(stdout).toMatch(new RegExp(`rootfs +${verified} +${to}/rootfs`));
    expect((await readdir(to)).sort()).toEqual(['guest.conf', 'rootfs']);
    const differences = await compareTrees(
      odd,
      join(to, 'rootfs'),
      form === 'squashfs' ? {} : { holes: 'same' },
    );
    const isUnheld = form === 'squashfs' ? isUnheldBySquashfs : isUnheldByTar;
    expect(differences.filter((difference) => !isUnheld(difference))).toEqual([]);
  });

  describe('to other ids', () => {
    const owners = async (folder: string): Promise<string> => {
      const files = '. folder text hard capable null';
      return sh(
        `stat -c '%n %F %u:%g %a %t:%T %h' ${files}; getfacl -n text; getcap -n capable; getfattr -n trusted.kept text`,
        folder,
      );
    };
    /** What is wanted, by the ids of the original. */
    const shifted = (text: string, by: number): string =>
      text
        .replaceAll(
          / (\d+):(\d+) (\d{3,4} )/g,
          (_, u, g, mode) => ` ${Number(u) + by}:${Number(g) + by} ${mode}`,
        )
        .replaceAll(/(user|group):(\d+):/g, (_, kind, id) => `${kind}:${Number(id) + by}:`)
        .replaceAll(/# (owner|group): (\d+)/g, (_, kind, id) => `# ${kind}: ${Number(id) + by}`)
        .replaceAll(/(cap_net_raw=ep)/g, `$1 [rootid=${by}]`);

    it('makes an archive one of an unprivileged container', async () => {
      const to = await fresh('restored');
      const { exitCode, stderr } = await restore('small', '--to', to, '--id-map', '0:100000:65536');
      expect(exitCode, stderr).toBe(0);
      const original = await owners(join(work, 'small'));
      expect(original).toMatch(/text regular file 33:34 4755/);
      expect(await owners(join(to, 'rootfs'))).toBe(shifted(original, 100_000));
    });

    it('makes a folder that is kept with the ids of one host another\u2019s', async () => {
      const folder = await folderOf('shifted');
      await run(process.execPath, [
        ...[command, 'restore', `${store}:small`, '--to', folder],
        ...['--id-map', '0:200000:65536'],
      ]);
      const config = join(work, 'config.yaml');
      const idMap = [{ inside: 0, outside: 200_000, count: 65_536 }];
      await writeFile(config, JSON.stringify({ stores: { kept: { path: store, idMap } } }));
      const to = await fresh('restored');
      const args = ['kept:shifted', '--config', config, '--to', to];
      const as = await run(process.execPath, [command, 'restore', ...args]);
      expect(as.exitCode, as.stderr).toBe(0);
      const original = await owners(join(work, 'small'));
      expect(await owners(join(to, 'rootfs'))).toBe(shifted(original, 200_000));
      const mapped = await run(process.execPath, [
        ...[command, 'restore', ...args, '--overwrite'],
        ...['--id-map', '0:100000:65536'],
      ]);
      expect(mapped.exitCode, mapped.stderr).toBe(0);
      expect(await owners(join(to, 'rootfs'))).toBe(shifted(original, 100_000));
    });

    it('refuses ids that the map does not have', async () => {
      const to = await fresh('restored');
      const { exitCode, stderr } = await restore('small', '--to', to, '--id-map', '0:100000:20');
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(/Cannot change ownership to uid 33/);
      expect(await readdir(work)).not.toContain('restored');
    });
  });

  it('replaces a folder only where it is to be overwritten', async () => {
    const to = await fresh('restored');
    await mkdir(join(to, 'rootfs'), { recursive: true });
    const empty = await restore('small', '--to', to);
    expect(empty.exitCode, empty.stderr).toBe(0);
    await writeFile(join(to, 'rootfs', 'precious'), 'here');
    const refused = await restore('small', '--to', to);
    expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/rootfs is there already/) });
    expect(await readFile(join(to, 'rootfs', 'precious'), 'utf8')).toBe('here');
    const replaced = await restore('small', '--to', to, '--overwrite');
    expect(replaced.exitCode, replaced.stderr).toBe(0);
    expect(await compareTrees(join(work, 'small'), join(to, 'rootfs'))).toEqual([]);
    expect((await readdir(to)).sort()).toEqual(['rootfs']);
  });

  it('writes into a file system of its own that is empty, and empties it again when it fails', async () => {
    const to = await fresh('restored');
    const rootfs = join(to, 'rootfs');
    await mkdir(rootfs, { recursive: true });
    await output('mount', '-t', 'tmpfs', 'stillfs-test', rootfs);
    try {
      const { dev } = await stat(rootfs);
      const damaged = join(await folderOf('damaged'), 'archive.tar');
      await cp(join(store, 'large', time, 'archive.tar'), damaged);
      await cp(join(store, 'large', time, 'archive.tar.sums'), `${damaged}.sums`);
      // Behind what tar has written by then.
      await flip(damaged, 8_000_000);
      expect((await restore('damaged', '--to', to)).exitCode).toBe(1);
      expect(await readdir(rootfs)).toEqual([]);
      const { exitCode, stderr } = await restore('small', '--to', to);
      expect(exitCode, stderr).toBe(0);
      expect((await stat(rootfs)).dev).toBe(dev);
      expect(await compareTrees(join(work, 'small'), rootfs)).toEqual([]);
      const full = await restore('small', '--to', to, '--overwrite');
      expect(full).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/not empty; empty it first/) });
    } finally {
      await output('umount', rootfs);
    }
  });

  it.each(['tar.zst', 'squashfs'] as const)('finds damage before it is unpacked: %s', async (form) => {
    const folder = await folderOf('broken');
    const file = form === 'squashfs' ? 'archive.sqfs' : 'archive.tar.zst';
    await rm(folder, { recursive: true });
    await cp(join(store, forms[form], time), folder, { recursive: true });
    await flip(join(folder, file), 2000);
    const to = await fresh('restored');
    const { exitCode, stderr } = await restore('broken', '--to', to);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(new RegExp(`${file} of broken/\\S+, 0 to \\d+, is not what was backed up`));
    expect(await readdir(work)).not.toContain('restored');
  });

  it('leaves nothing behind, and nothing running, when it is interrupted', async () => {
    const to = await fresh('restored');
    const args = ['restore', `${store}:large`, '--to', to, '--bwlimit', '1M', '--json'];
    const child = execa(process.execPath, [command, ...args], { reject: false, stdin: 'ignore' });
    await heard(child, /"part":"rootfs","done":[1-9]/);
    child.kill('SIGINT');
    expect((await child).exitCode).toBe(1);
    expect(await readdir(work)).not.toContain('restored');
    expect(await output('bash', '-c', 'readlink /proc/[0-9]*/cwd | grep -F "$1" || true', 'bash', to)).toBe(
      '',
    );
  });

  it('writes nothing outside, whatever an archive says', async () => {
    const archive = join(await folderOf('hostile'), 'archive.tar');
    const script = `
import io, sys, tarfile
tar = tarfile.open(sys.argv[1], 'w')
def add(name, type=tarfile.REGTYPE, link=''):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = type, link, 4 if type == tarfile.REGTYPE else 0
    tar.addfile(entry, io.BytesIO(b'evil') if entry.size else None)
add('../escaped')
add('out', tarfile.SYMTYPE, '../..')
add('out/escaped')
add('hard', tarfile.LNKTYPE, '../../secret')
tar.close()`;
    await output('python3', '-c', script, archive);
    await writeFile(join(work, 'secret'), 'secret');
    const to = await fresh('restored');
    const { exitCode } = await restore('hostile', '--to', to);
    expect(exitCode).toBe(1);
    expect(await readdir(work)).not.toContain('restored');
    const ignored = await restore('hostile', '--to', to, '--ignore-damage');
    expect(ignored.exitCode).toBe(1);
    const found = await sh('find . -name escaped -not -path "./restored/rootfs/*"; stat -c %h secret');
    expect(found).toBe('1\n');
  });

  async function flip(path: string, at: number): Promise<void> {
    const file = await open(path, 'r+');
    try {
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
      await file.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, at);
    } finally {
      await file.close();
    }
  }
});

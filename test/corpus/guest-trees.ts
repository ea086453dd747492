import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { output } from '../e2e/served-mount.js';
import { makeOddities } from './oddities.js';

/** Folders such as containers hold, made anew for a test. `full` makes them as large as they are in earnest. */
export const guestTrees = {
  /** Everything that a file can be and that a copy can get wrong. */
  odd: async (folder: string, full: boolean): Promise<void> => {
    makeOddities(folder);
    // Paths longer than PATH_MAX, which tar and mksquashfs refuse by themselves.
    await output('rm', '-rf', join(folder, 'deep'));
    // 4 GiB that archives without holes would hold and every comparison read.
    if (!full) await output('rm', join(folder, 'holes', 'a-byte-beyond-4-gib'));
  },
  /** A Debian system as debootstrap makes it; short: what is in it beside documentation, translations and libraries. */
  debian: async (folder: string, full: boolean): Promise<void> => {
    const suite = 'bookworm';
    await output('debootstrap', '--variant=minbase', suite, folder);
    const large = [
      'usr/share',
      'usr/lib/x86_64-linux-gnu',
      'var/lib/apt/lists',
      'usr/bin/perl5.36.0',
      'usr/bin/perl',
    ];
    const most = full ? ['var/cache/apt'] : ['var/cache/apt', ...large];
    await output('rm', '-rf', ...most.map((path) => join(folder, path)));
  },
  /** Small files with odd times, modes, attributes and links here and there. */
  small: async (folder: string, full: boolean): Promise<void> => {
    await makeSmallFiles(folder, full ? 200_000 : 2_000);
  },
  /** One disk of a container's database: holes, data, and a hole at the end. */
  sparse: async (folder: string, full: boolean): Promise<void> => {
    const file = join(folder, 'database');
    const mebibytes = full ? 20 * 1024 : 90;
    await output('truncate', '-s', `${mebibytes}M`, file);
    for (const place of [0, 1, Math.floor(mebibytes / 3), mebibytes - 9]) {
      await output(
        'dd',
        'if=/dev/urandom',
        `of=${file}`,
        'bs=1M',
        'count=1',
        `seek=${place}`,
        'conv=notrunc',
      );
    }
    await output('truncate', '-s', full ? '3G' : '30M', join(folder, 'nothing-at-all'));
  },
} satisfies Readonly<Record<string, (folder: string, full: boolean) => Promise<void>>>;

export type GuestTree = keyof typeof guestTrees;

const inAFolder = 250;

/** So many files of 0 to 9000 bytes, 250 in a folder, with something odd here and there. */
export async function makeSmallFiles(folder: string, files: number): Promise<void> {
  for (let made = 0; made < files; made += inAFolder) {
    const part = join(folder, `part-${made}`);
    await mkdir(part, { recursive: true });
    await Promise.all(
      Array.from({ length: inAFolder }, (_, place) =>
        writeFile(join(part, `file-${place}`), Buffer.alloc((made + place * 37) % 9000, place)),
      ),
    );
    await output('ln', join(part, 'file-1'), join(part, 'link'));
    await output('setfattr', '-n', 'user.part', '-v', String(made), join(part, 'file-2'));
    await output('setfacl', '-m', 'u:1234:r', join(part, 'file-3'));
    await output('chown', '1000:1001', join(part, 'file-4'));
    await output('touch', '-d', '1965-03-04 05:06:07.89', join(part, 'file-5'));
  }
}

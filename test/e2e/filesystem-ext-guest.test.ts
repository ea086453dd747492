import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MountedImage } from '../filesystems/mounted-image.js';
import { Machine } from '../machine/machine.js';
import { output } from './served-mount.js';

// What this host's kernel may have been built without.

/** Names that are written otherwise than they are looked for. */
const alike: ReadonlyArray<readonly [made: string, wanted: string]> = [
  ['README.txt', 'readme.TXT'],
  ['Straße', 'STRASSE'],
  ['ΟΔΥΣΣΕΥΣ', 'οδυσσευς'],
  ['e\u0301te\u0301', 'ÉTÉ'],
  ['Ǆungla', 'ǆUNGLA'],
  ['ﬁne', 'FINE'],
  ['soft\u00adhyphen', 'SOFTHYPHEN'],
  ['İstanbul', 'i\u0307STANBUL'],
  ['ꭰꭱ', 'ᎠᎡ'],
  ['Kelvin', '\u212aELVIN'],
  ['number 77 of many', 'NUMBER 77 OF MANY'],
  ['\u{1e900}dlam', '\u{1e922}DLAM'],
];
/** Names that are not there, though they look so. */
const others = ['Strase', 'ıstanbul', 'readme', 'ete', 'number 7777 of many', 'K'];
const shell = (text: string): string => `"$(echo ${Buffer.from(text).toString('base64')} | base64 -d)"`;
const wanted = [...alike.flat(), ...others];

/** What is in folders, and what a look-up of each name finds. */
const tellCasefolded = `
tell() (
  cd "$1"
  find . | sort
  for name in ${wanted.map(shell).join(' ')}; do
    echo "$name: $(cat "folded/$name" 2>/dev/null || echo none)"
  done
)`;
const tellEncrypted = `
tell() (
  cd "$1"
  find . -exec stat -c '%n|%f|%h|%u|%g|%s|%b|%X|%Y|%Z' {} + | sort
  find . -type l -exec readlink {} ';' | sort
)`;

let folder: string;
let shownCasefolded: string;
let shownEncrypted: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-ext-'));
  const disks = { casefold: ['-O', 'casefold', '-b', '1024'], encrypt: ['-O', 'encrypt', '-b', '4096'] };
  for (const [id, options] of Object.entries(disks)) {
    writeFileSync(join(folder, id), '');
    truncateSync(join(folder, id), 64 << 20);
    await output('mke2fs', '-q', '-t', 'ext4', ...options, join(folder, id));
  }
  const programs = ['/usr/bin/chattr', '/usr/sbin/e4crypt'];
  const machine = await Machine.start({
    disks: Object.keys(disks).map((id) => ({ id, file: join(folder, id) })),
    agent: false,
    additions: { programs, modules: ['ecb', 'cts', 'xts'] },
  });
  try {
    shownCasefolded = await machine.output(`${tellCasefolded}
      set -e
      mkdir -p /run/mnt/casefold; mount /dev/disk/casefold /run/mnt/casefold; cd /run/mnt/casefold
      mkdir folded plain; /sbin/chattr +F folded; mkdir folded/below
      for name in ${alike.map(([made]) => shell(made)).join(' ')}; do
        for in in folded folded/below plain; do echo "in $in" >"$in/$name"; done
      done
      for each in $(seq 200); do echo "$each" >"folded/Number $each Of Many"; done
      cd /; tell /run/mnt/casefold; umount /run/mnt/casefold`);
    shownEncrypted = await machine.output(`${tellEncrypted}
      set -e
      mkdir -p /run/mnt/encrypt; mount /dev/disk/encrypt /run/mnt/encrypt; cd /run/mnt/encrypt
      mkdir secret plain; echo plain >plain/file
      echo passphrase | /sbin/e4crypt add_key -S s:salt secret >/dev/null 2>&1
      echo content >secret/file
      mkdir secret/large; for each in $(seq 300); do echo $each >"secret/large/a file of number $each"; done
      for length in 1 16 17 100 149 160 200 255; do : >secret/$(printf "%0\${length}d" 7); done
      ln -s target secret/link; ln -s $(printf '%0900d' 7) secret/long-link
      /sbin/e4crypt new_session >/dev/null
      cd /; umount /run/mnt/encrypt; mount -o ro /dev/disk/encrypt /run/mnt/encrypt
      tell /run/mnt/encrypt; umount /run/mnt/encrypt`);
    await machine.quit();
  } finally {
    await machine.remove();
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function shownByUs(id: string, tell: string): Promise<{ shown: string; problems: readonly string[] }> {
  const ours = await MountedImage.start('ext', join(folder, id));
  try {
    return {
      shown: await output('bash', '-c', `${tell}\ntell "$0"`, ours.mountpoint),
      problems: ours.problems,
    };
  } finally {
    await ours.stop();
  }
}

describe('an ext4 file system of a guest', () => {
  it('finds names in casefolded folders as Linux does, however they are written', async () => {
    expect(await shownByUs('casefold', tellCasefolded)).toEqual({ shown: shownCasefolded, problems: [] });
    expect(shownCasefolded).toContain('STRASSE: in folded');
  });

  it('shows encrypted files as Linux does without their key', async () => {
    expect(await shownByUs('encrypt', tellEncrypted)).toEqual({ shown: shownEncrypted, problems: [] });
    expect(shownEncrypted).not.toContain('number 300');
    expect(shownEncrypted.split('\n').length).toBeGreaterThan(310);
  });
});

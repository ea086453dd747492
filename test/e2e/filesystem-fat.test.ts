import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MountedImage } from '../filesystems/mounted-image.js';
import { Machine } from '../machine/machine.js';
import { output } from './served-mount.js';

const mebibyte = 1024 * 1024;

interface MadeImage {
  readonly id: string;
  readonly kind: 'vfat' | 'exfat';
  readonly mebibytes: number;
  readonly make: readonly string[];
  /** Whether the guest fills it; mtools have done so otherwise. */
  readonly filledBy: 'guest' | 'mtools';
}

const images: readonly MadeImage[] = [
  { id: 'fat12', kind: 'vfat', mebibytes: 4, make: ['mkfs.fat', '-F', '12', '-s', '4'], filledBy: 'guest' },
  {
    id: 'fat16',
    kind: 'vfat',
    mebibytes: 64,
    make: ['mkfs.fat', '-F', '16', '-S', '4096', '-f', '1', '-r', '256', '-R', '5'],
    filledBy: 'guest',
  },
  { id: 'fat32', kind: 'vfat', mebibytes: 96, make: ['mkfs.fat', '-F', '32', '-s', '1'], filledBy: 'guest' },
  { id: 'fat32-mtools', kind: 'vfat', mebibytes: 64, make: ['mkfs.fat', '-F', '32'], filledBy: 'mtools' },
  { id: 'exfat', kind: 'exfat', mebibytes: 32, make: ['mkfs.exfat', '-c', '512'], filledBy: 'guest' },
  { id: 'exfat-large', kind: 'exfat', mebibytes: 2048, make: ['mkfs.exfat', '-c', '1M'], filledBy: 'guest' },
];

/** One file a line: what stat(2) tells of it, and a checksum. The root of exFAT has no times; Linux shows when it was mounted. */
const tell = `
tell() (
  cd "$1"
  find . -exec stat -c '%n|%f|%h|%u|%g|%s|%b|%X|%Y|%Z' {} + | sed '/^\\.|/s/|[^|]*|[^|]*|[^|]*$//'
  find . -type f -exec sha256sum {} +
)`;

/** Oddities as far as FAT can hold them, and churn: files that grow by turns, that are cut, moved and removed. */
const fill = `
fill() (
  cd "$1"
  mkdir -p EFI/BOOT 'Long Folder Name With Spaces/and one in it/and one more'
  for name in lower.txt UPPER.TXT lower.TXT UPPER.txt Mixed.Txt noext 'a long name. with. dots' '+,;=[]' "$(echo ${Buffer.from('ünïcödé 世界 😀.text').toString('base64')} | base64 -d)"; do
    echo "$name" >"$name"
  done
  echo ÄÖÜ >"$(echo ${Buffer.from('ÄÖÜ.TXT').toString('base64')} | base64 -d)"
  long=$(printf '%0250d' 7); echo long >"$long.txt"
  : >empty
  echo read-only >EFI/readonly; chmod a-w EFI/readonly
  mkdir many; for each in $(seq 200); do echo $each >"many/file number $each"; done
  rm many/*[147]
  for each in $(seq 30); do echo again $each >"many/AGAIN$each.TXT"; done
  for each in $(seq 12); do
    head -c 3000 /dev/urandom >>turns-a; head -c 5000 /dev/urandom >>EFI/turns-b; head -c 700 /dev/urandom >>turns-c
  done
  truncate -s 23000 EFI/turns-b; rm turns-c; mv turns-a EFI/BOOT/moved
  head -c 100000 /dev/urandom >EFI/BOOT/after
  for time in 198001010000.00 202402292359.58 199912312358.02 210712312358.58; do : >"time $time"; touch -t $time "time $time"; done
  deep=d; for each in $(seq 30); do deep=$deep/d; done; mkdir -p $deep; echo deep >$deep/file
)`;

let folder: string;
/** What the guest's kernel shows of each image. */
const shown = new Map<string, string[]>();

function file(id: string): string {
  return join(folder, id);
}

/** With mtools: long names that need a short one beside them, names in small letters, times, many files in one folder. */
function fillWithMtools(image: string): void {
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'Grüße', 'deeper'), { recursive: true });
  for (const name of [
    'README.md',
    'short.txt',
    'a name that is long enough.html',
    'ÀÉÎ.txt',
    '世界.bin',
    '😀 and 🎉',
  ])
    writeFileSync(join(tree, 'Grüße', name), name.repeat(1000));
  for (let each = 0; each < 400; each++)
    writeFileSync(join(tree, 'Grüße', 'deeper', `file ${each}.data`), `${each}`);
  utimesSync(join(tree, 'Grüße', 'short.txt'), 1_000_000_000, 1_000_000_001);
  execFileSync('mcopy', ['-s', '-m', '-i', image, join(tree, 'Grüße'), '::'], {
    stdio: 'pipe',
    env: { ...process.env, LC_ALL: 'C.UTF-8', MTOOLS_SKIP_CHECK: '1', TZ: 'UTC' },
  });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-fat-'));
  for (const { id, mebibytes, make, filledBy } of images) {
    const [program = '', ...options] = make;
    writeFileSync(file(id), '');
    truncateSync(file(id), mebibytes * mebibyte);
    await output(program, ...options, file(id));
    if (filledBy === 'mtools') fillWithMtools(file(id));
  }
  const machine = await Machine.start({
    disks: images.map(({ id }) => ({ id, file: file(id) })),
    agent: false,
    additions: { modules: ['nls_cp437', 'nls_ascii', 'nls_utf8', 'vfat', 'exfat'] },
  });
  try {
    for (const { id, kind, filledBy } of images) {
      const mount = `mkdir -p /run/mnt/${id}; mount -t ${kind} -o`;
      const at = `/dev/disk/${id} /run/mnt/${id}`;
      if (filledBy === 'guest')
        await machine.output(
          `${fill}\nset -e; ${mount} rw ${at}; fill /run/mnt/${id}; umount /run/mnt/${id}`,
        );
      const lines = await machine.output(
        `${tell}\nset -e; ${mount} ro ${at}; tell /run/mnt/${id}; umount /run/mnt/${id}`,
      );
      shown.set(id, lines.trim().split('\n').sort());
    }
    await machine.quit();
  } finally {
    await machine.remove();
  }
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a file system of FAT or exFAT', () => {
  it.each(images)('is shown as Linux shows it: $id', async ({ id, kind, filledBy }) => {
    const ours = await MountedImage.start(kind, file(id));
    try {
      const lines = (await output('bash', '-c', `${tell}\ntell "$0"`, ours.mountpoint))
        .trim()
        .split('\n')
        .sort();
      expect(lines).toEqual(shown.get(id));
      expect(lines.length).toBeGreaterThan(filledBy === 'guest' ? 300 : 800);
      expect(ours.problems).toEqual([]);
    } finally {
      await ours.stop();
    }
  });

  it.each(images.filter(({ kind }) => kind === 'vfat'))('is well, as fsck.fat has it: $id', async ({
    id,
  }) => {
    // What is compared must not be compared because both have gone astray.
    await output('fsck.fat', '-n', file(id));
  });
});

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Found, found, shown } from './raw-file.js';

const mebibyte = 1024 * 1024;
let folder: string;
let image: string;
let open: Found | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-tables-'));
  image = join(folder, 'image');
  writeFileSync(image, '');
  truncateSync(image, 256 * mebibyte);
});
afterEach(async () => {
  await open?.close();
  open = undefined;
  rmSync(folder, { recursive: true });
});

async function look(): Promise<Found> {
  await open?.close();
  open = await found({ vda: image });
  return open;
}

function sfdisk(script: string, ...options: string[]): void {
  execFileSync('sfdisk', ['--quiet', ...options, image], { input: script, stdio: ['pipe', 'pipe', 'pipe'] });
}

/** Does something with the image as a disk whose sectors have 4096 bytes. */
function withLargeSectors<T>(work: (device: string) => T): T {
  const loop = execFileSync('losetup', ['--show', '-f', '-b', '4096', image], { encoding: 'utf8' }).trim();
  try {
    return work(loop);
  } finally {
    execFileSync('losetup', ['-d', loop]);
  }
}

function write(offset: number, bytes: Buffer | string): void {
  const file = openSync(image, 'r+');
  writeSync(file, Buffer.from(bytes as string, 'latin1'), 0, undefined, offset);
  closeSync(file);
}

interface Row {
  readonly number: number;
  readonly offset: number;
  readonly size: number;
  readonly uuid?: string;
  readonly label?: string;
}

/** The partitions as sfdisk sees them, without the extended one: that is no volume. */
function asSfdisk(device = image): Row[] {
  const { partitiontable: table } = JSON.parse(
    execFileSync('sfdisk', ['--json', device], { encoding: 'utf8' }),
  );
  return table.partitions
    .filter(({ type }: { type: string }) => !['5', 'f', '85'].includes(type))
    .map((row: { node: string; start: number; size: number; uuid?: string; name?: string }) => {
      const number = Number(/\d+$/.exec(row.node)?.[0]);
      const id = `${table.id.slice(2)}-${number.toString(16).padStart(2, '0')}`;
      return {
        number,
        offset: row.start * table.sectorsize,
        size: row.size * table.sectorsize,
        uuid: row.uuid?.toLowerCase() ?? id,
        ...(row.name !== undefined && { label: row.name }),
      };
    });
}

/** The same from stillfs; where a partition begins is told by a mark that the test has written there. */
function asFound({ volumes }: Found, rows: readonly Row[]): Promise<Row[]> {
  return Promise.all(
    volumes.map(async (volume) => {
      expect(shown(volume)).toBe(`vda/part/${volume.partition?.number}`);
      const mark = Buffer.alloc(16);
      await volume.disk?.read(0, mark);
      return {
        number: volume.partition?.number ?? 0,
        offset: rows.find(({ offset }) => mark.toString('latin1') === markAt(offset))?.offset ?? -1,
        size: volume.disk?.size ?? 0,
        ...(volume.partitionUuid !== undefined && { uuid: volume.partitionUuid }),
        ...(volume.partitionLabel !== undefined && { label: volume.partitionLabel }),
      };
    }),
  );
}

function markAt(offset: number): string {
  return `mark ${offset}`.padEnd(16);
}

async function expectAsSfdisk(rows = asSfdisk()): Promise<void> {
  for (const { offset } of rows) write(offset, markAt(offset));
  const here = await look();
  expect(await asFound(here, rows)).toEqual(rows);
  expect(here.problems).toEqual([]);
}

const gptScript = `label: gpt
size=1MiB, type=U, name="EFI system"
size=20MiB, name="Grüße, 世界 😀"
start=100MiB, size=4MiB
size=8MiB, type=V, uuid=01234567-89AB-CDEF-0123-456789ABCDEF
`;

describe('a GPT', () => {
  it('is read as sfdisk has it, in sectors of 512 bytes and of 4096', async () => {
    sfdisk(gptScript);
    await expectAsSfdisk();
    truncateSync(image, 0);
    truncateSync(image, 256 * mebibyte);
    const rows = withLargeSectors((device) => {
      execFileSync('sfdisk', ['--quiet', device], { input: gptScript, stdio: ['pipe', 'pipe', 'pipe'] });
      return asSfdisk(device);
    });
    expect(rows[2]?.offset).toBe(100 * mebibyte);
    await expectAsSfdisk(rows);
  });

  it('has its partitions by their numbers, whatever is missing between them, and as many as the table can hold', async () => {
    const numbers = [1, 3, 77, 128];
    const rows = numbers.map((number) => `${number} : start=${number}MiB, size=512KiB`);
    sfdisk(`label: gpt\n${rows.join('\n')}\n`);
    await expectAsSfdisk();
    expect((await look()).volumes.map(shown)).toEqual(numbers.map((number) => `vda/part/${number}`));
  });

  it('is taken from the end of the disk where the one at its start is damaged, and that is said', async () => {
    sfdisk(gptScript);
    const whole = (await look()).volumes.map(({ partitionUuid }) => partitionUuid);
    for (const [offset, why] of [
      [512 + 20, 'the checksum of its header is wrong'],
      [1024 + 40, 'the checksum of its entries is wrong'],
    ] as const) {
      const before = readFileSync(image).subarray(offset, offset + 1);
      write(offset, Buffer.from([255 - (before[0] ?? 0)]));
      const here = await look();
      expect(here.volumes.map(({ partitionUuid }) => partitionUuid)).toEqual(whole);
      expect(here.problems).toEqual([
        `The partition table of vda: the GPT at its start is damaged (${why}); the copy at its end is taken.`,
      ]);
      write(offset, before);
    }
    write(512, Buffer.alloc(512));
    expect((await look()).problems).toEqual([
      'The partition table of vda: the GPT at its start is damaged (it is missing); the copy at its end is taken.',
    ]);
  });

  it('finds its second copy after the disk has grown', async () => {
    sfdisk(gptScript);
    truncateSync(image, 300 * mebibyte);
    write(1024 + 40, 'damage');
    const { volumes, problems } = await look();
    expect(volumes).toHaveLength(4);
    expect(problems).toHaveLength(1);
  });

  it('that is damaged in both copies leaves the disk as one, and says why', async () => {
    sfdisk(gptScript);
    write(512 + 60, 'damage');
    write(256 * mebibyte - 512 + 60, 'damage');
    const { volumes, problems } = await look();
    expect(volumes.map(shown)).toEqual(['vda/raw']);
    expect(problems).toEqual([
      'The partition table of vda: its GPT is damaged, in both of its copies (the checksum of its header is wrong).',
    ]);
  });

  it('goes before the partitions of a hybrid MBR, and not without an MBR', async () => {
    sfdisk(gptScript);
    execFileSync('sgdisk', ['--hybrid=2,3', image], { stdio: 'pipe' });
    expect((await look()).volumes).toHaveLength(4);
    write(510, '\0\0');
    expect((await look()).volumes.map(shown)).toEqual(['vda/raw']);
  });

  it('shows what the disk has of a partition that it was cut in', async () => {
    sfdisk(gptScript);
    truncateSync(image, 102 * mebibyte);
    const { problems, at } = await look();
    expect(at('vda/part/3').disk?.size).toBe(2 * mebibyte);
    expect(problems).toEqual(
      [
        'vda/part/3 is cut short: 2097152 of its 4194304 bytes are on the disk.',
        expect.stringMatching(
          /^vda\/part\/4 can't be read: it begins at \d+, and the disk ends at 106954752\.$/,
        ),
      ].slice(0, problems.length),
    );
    expect(problems.length).toBeGreaterThan(0);
  });
});

const mbrScript = `label: dos
label-id: 0x1badcafe
size=10MiB, type=c, bootable
size=5MiB
size=100MiB, type=5
size=3MiB, type=82
size=10MiB
size=11MiB
size=12MiB, type=8e
`;

describe('an MBR', () => {
  it('is read as sfdisk has it, with logical partitions from 5', async () => {
    sfdisk(mbrScript);
    await expectAsSfdisk();
    expect((await look()).volumes.map(shown)).toEqual([1, 2, 4, 5, 6, 7].map((n) => `vda/part/${n}`));
    expect((await look()).at('vda/part/5').partitionUuid).toBe('1badcafe-05');
  });

  it('shows fifty logical partitions in the order of their chain', async () => {
    const logical = 'size=1MiB\n'.repeat(50);
    const primary = [210, 212, 214].map((start) => `start=${start}MiB, size=1MiB`);
    sfdisk(`label: dos\nsize=200MiB, type=f\n${primary.join('\n')}\n${logical}`);
    await expectAsSfdisk();
  });

  it('follows no chain that comes back to itself, and shows what is before that', async () => {
    sfdisk(mbrScript);
    const extended = 16 * mebibyte;
    expect(readFileSync(image).readUInt16LE(extended + 510)).toBe(0xaa55);
    // Of the first link, the second row: where the next one is, relative to the extended partition.
    write(extended + 446 + 16 + 8, '\0\0\0\0');
    const { volumes, problems } = await look();
    expect(volumes.map(shown)).toEqual([1, 2, 4, 5].map((n) => `vda/part/${n}`));
    expect(problems).toEqual([
      expect.stringContaining('logical partitions from 6 on may be missing: its chain comes back to sector'),
    ]);
  });

  it.each([
    ['FAT32', ['mkfs.fat', '-F', '32', '--mbr=n']],
    ['FAT that feigns a partition', ['mkfs.fat', '-F', '32', '--mbr=y']],
    ['FAT12', ['mkfs.fat', '-F', '12', '-S', '4096', '-s', '32']],
    ['exFAT', ['mkfs.exfat']],
    ['NTFS', ['mkntfs', '--force', '--fast', '--quiet']],
    ['ext4', ['mkfs.ext4', '-q']],
  ])('is not seen in the boot sector of %s', async (_name, [program = '', ...options]) => {
    execFileSync(program, [...options, image], { stdio: 'pipe' });
    const { volumes, problems } = await look();
    expect(volumes.map(shown)).toEqual(['vda/raw']);
    expect(volumes[0]?.disk?.size).toBe(256 * mebibyte);
    expect(problems).toEqual([]);
  });

  it('is not seen in a boot sector that has a program where the table would be', async () => {
    execFileSync('mkfs.fat', ['-F', '16', image], { stdio: 'pipe' });
    write(446, 'Non-system disk or disk error. Replace and press any key when ready.'.slice(0, 64));
    expect((await look()).volumes.map(shown)).toEqual(['vda/raw']);
  });

  it('is seen on a disk that was one FAT file system before', async () => {
    execFileSync('mkfs.fat', ['-F', '32', '--mbr=n', image], { stdio: 'pipe' });
    sfdisk(mbrScript, '--wipe', 'never', '--force');
    expect((await look()).volumes).toHaveLength(6);
  });
});

it('shows disks without anything on them, of any size', async () => {
  for (const size of [256 * mebibyte, 512, 100, 0]) {
    truncateSync(image, 0);
    truncateSync(image, size);
    const { volumes, problems } = await look();
    expect([volumes.map(shown), volumes[0]?.disk?.size, problems]).toEqual([['vda/raw'], size, []]);
  }
});

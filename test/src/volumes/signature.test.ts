import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { signatureOf } from '../../../src/volumes/signature.js';
import { fileDisk } from '../archives/tar/file-disk.js';
import { signal } from './raw-file.js';

const mebibyte = 1024 * 1024;
let folder: string;
let image: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-signature-'));
  image = join(folder, 'image');
  writeFileSync(image, '');
  truncateSync(image, 192 * mebibyte + 12_288);
});
afterEach(() => rmSync(folder, { recursive: true }));

function run(program: string, ...options: string[]): void {
  execFileSync(program, options, { stdio: 'pipe' });
}

function write(offset: number, text: string): void {
  const file = openSync(image, 'r+');
  writeSync(file, Buffer.from(text, 'latin1'), 0, undefined, offset);
  closeSync(file);
}

async function found(): Promise<string | undefined> {
  const disk = await fileDisk(image);
  try {
    const signature = await signatureOf(disk, signal);
    return signature && `${signature.type}: ${signature.description}`;
  } finally {
    await disk.close();
  }
}

function asBlkid(): string {
  return execFileSync('blkid', ['-p', '-o', 'value', '-s', 'TYPE', image], { encoding: 'utf8' }).trim();
}

const luks = [
  'luksFormat',
  '--batch-mode',
  '--pbkdf',
  'pbkdf2',
  '--pbkdf-force-iterations',
  '1000',
  '--key-file',
];

/** What the real programs make. */
const made: ReadonlyArray<readonly [description: string, make: () => void]> = [
  [
    'a volume that is encrypted with LUKS1',
    () => run('cryptsetup', ...luks, '/bin/true', '--type', 'luks1', image),
  ],
  [
    'a volume that is encrypted with LUKS2',
    () => run('cryptsetup', ...luks, '/bin/true', '--type', 'luks2', image),
  ],
  ['swap space', () => run('mkswap', image)],
  ['swap space', () => run('mkswap', '--pagesize', '65536', image)],
  ['a btrfs file system', () => run('mkfs.btrfs', '-q', image)],
  ['an F2FS file system', () => run('mkfs.f2fs', '-q', image)],
  ['a part of a bcache', () => run('make-bcache', '-B', image)],
  ['a NILFS2 file system', () => run('mkfs.nilfs2', '-q', '-f', image)],
  ['a UDF file system', () => run('mkudffs', '-b', '512', image)],
  ['a UDF file system', () => run('mkudffs', '-b', '4096', image)],
  ['an ISO 9660 image', () => run('xorriso', '-as', 'mkisofs', '-quiet', '-o', image, '/etc/apt')],
  ['an EROFS image', () => run('mkfs.erofs', image, '/etc/apt')],
  ['a squashfs image', () => run('mksquashfs', '/etc/apt', image, '-noappend', '-quiet', '-no-progress')],
];

/** What no program of Debian's makes: marks at their places, as the formats' documents have them. */
const marked: ReadonlyArray<readonly [string, ReadonlyArray<readonly [number, string]>]> = [
  ['a volume that is encrypted with BitLocker', [[0, '\xeb\x52\x90-FVE-FS-']]],
  ['a ReFS file system', [[0, '\0\0\0ReFS\0']]],
  ['an APFS container', [[32, 'NXSB']]],
  ['a part of a VMFS volume', [[mebibyte, '\x0d\xd0\x01\xc0']]],
  ['a UFS file system', [[65_536 + 1372, '\x19\x01\x54\x19']]],
  ['a JFS file system', [[32_768, 'JFS1']]],
  ['a part of a ZFS pool', [0, 1, 2, 3].map((n) => [(132 + n) * 1024, '\x0c\xb1\xba\0\0\0\0\0'] as const)],
];

describe('what is on a volume', () => {
  it.each(made)('is named as blkid has it: %s', async (description, make) => {
    make();
    expect(await found()).toBe(`${asBlkid()}: ${description}`);
  });

  it.each(marked)('is told by its marks: %s', async (description, marks) => {
    for (const [offset, bytes] of marks) write(offset, bytes);
    expect((await found())?.replace(/^.*: /, '')).toBe(description);
  });

  it.each(['0.90', '1.0', '1.1', '1.2'])('is a part of an md RAID of version %s', async (version) => {
    // mdadm itself wants a kernel with md: this is what it would have written.
    for (const [offset, bytes] of superblock(version)) write(offset, bytes);
    expect(await found()).toBe('linux_raid_member: a part of a Linux software RAID (md)');
    expect(asBlkid()).toBe('linux_raid_member');
  });

  it('is unknown where a mark is not whole, or the volume ends before it', async () => {
    write(65_536 + 64, '_BHRfS_N');
    write(0, 'LUKS\xba\xbe\0\x07');
    write(128 * 1024, '\x0c\xb1\xba\0\0\0\0\0');
    expect(await found()).toBeUndefined();
    for (const size of [65_536 + 66, 4090, 100, 0]) {
      truncateSync(image, size);
      expect(await found()).toBeUndefined();
    }
  });
});

function superblock(version: string): Array<readonly [number, string]> {
  const size = 192 * mebibyte + 12_288;
  const bytes = Buffer.alloc(256);
  bytes.writeUInt32LE(0xa92b4efc, 0);
  if (version === '0.90') {
    bytes.writeUInt32LE(90, 8);
    bytes.writeUInt32LE(1024, 32);
    return [[Math.floor(size / 65_536) * 65_536 - 65_536, bytes.toString('latin1')]];
  }
  const offset = { '1.0': size - 8192, '1.1': 0, '1.2': 4096 }[version] ?? 0;
  bytes.writeUInt32LE(1, 4);
  bytes.writeBigUInt64LE(BigInt(offset / 512), 144);
  return [[offset, bytes.toString('latin1')]];
}

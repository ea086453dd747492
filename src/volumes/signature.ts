import type { Disk } from '../disks/disk.js';

/** What a volume is that no reader understands. */
export interface Signature {
  /** As blkid(8) calls it (TYPE). */
  readonly type: string;
  /** As a sentence goes on after "It holds …". */
  readonly description: string;
}

/** Reads bytes of a volume; undefined where they are not all on it. */
type BytesAt = (offset: number, length: number) => Promise<Buffer | undefined>;

interface Probe extends Signature {
  /** A mark and its place, bytes from the volume's start. */
  readonly marks?: ReadonlyArray<readonly [offset: number, bytes: Buffer]>;
  /** What else must be so; alone where no mark has a place of its own. */
  readonly holds?: (bytesAt: BytesAt, size: number) => Promise<boolean>;
}

const kibibyte = 1024;
/** What is read first: most marks are in it. */
const headBytes = 128 * kibibyte;

function latin(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function one(offset: number, text: string): ReadonlyArray<readonly [number, Buffer]> {
  return [[offset, latin(text)]];
}

/** The last ten bytes of the first page, whatever the processor calls a page. */
function onPages(...texts: string[]): Array<readonly [number, Buffer]> {
  return [4, 8, 16, 32, 64].flatMap((size) =>
    texts.map((text) => [size * kibibyte - 10, latin(text)] as const),
  );
}

/** A part of a Linux software RAID. */
export const raidMember: Signature = {
  type: 'linux_raid_member',
  description: 'a part of a Linux software RAID (md)',
};

/**
 * In the order in which they are asked for: what holds others (RAID, LVM, encryption) first, for what it holds may show through.
 * File systems that a reader is there for are left to it.
 */
const probes: readonly Probe[] = [
  { ...raidMember, holds: isMdMember },
  {
    type: 'crypto_LUKS',
    description: 'a volume that is encrypted with LUKS1',
    marks: one(0, 'LUKS\xba\xbe\x00\x01'),
  },
  {
    type: 'crypto_LUKS',
    description: 'a volume that is encrypted with LUKS2',
    marks: one(0, 'LUKS\xba\xbe\x00\x02'),
  },
  {
    type: 'BitLocker',
    description: 'a volume that is encrypted with BitLocker',
    marks: [...one(0, '\xeb\x52\x90-FVE-FS-'), ...one(0, '\xeb\x58\x90-FVE-FS-')],
  },
  {
    type: 'BitLocker',
    description: 'a volume that is encrypted with BitLocker To Go',
    marks: one(0, '\xeb\x58\x90MSWIN4.1'),
    holds: isBitLockerToGo,
  },
  {
    type: 'LVM2_member',
    description: 'an LVM physical volume',
    marks: [0, 1, 2, 3].map((sector) => [sector * 512, latin('LABELONE')] as const),
  },
  { type: 'zfs_member', description: 'a part of a ZFS pool', holds: isZfsMember },
  {
    type: 'bcache',
    description: 'a part of a bcache',
    marks: one(4096 + 24, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81'),
  },
  {
    type: 'bcachefs',
    description: 'a bcachefs file system',
    marks: one(4096 + 24, '\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef'),
  },
  {
    type: 'stratis',
    description: 'a part of a Stratis pool',
    marks: [...one(512 + 4, '!Stra0tis\x86\xff\x02^Arh'), ...one(9 * 512 + 4, '!Stra0tis\x86\xff\x02^Arh')],
  },
  { type: 'vdo', description: 'a compressed volume (VDO)', marks: one(0, 'dmvdo001') },
  { type: 'ceph_bluestore', description: 'an object store of Ceph', marks: one(0, 'bluestore block device') },
  { type: 'DM_integrity', description: 'a volume protected by dm-integrity', marks: one(0, 'integrt\0') },
  { type: 'DM_verity_hash', description: 'the checksums of a dm-verity volume', marks: one(0, 'verity\0\0') },
  { type: 'DM_snapshot_cow', description: 'the store of a snapshot', marks: one(0, 'SnAp\x01\0\0\0') },
  {
    type: 'VMFS_volume_member',
    description: 'a part of a VMFS volume',
    marks: one(1024 * kibibyte, '\x0d\xd0\x01\xc0'),
  },
  { type: 'VMFS', description: 'a VMFS file system', marks: one(2048 * kibibyte, '\x5e\xf1\xab\x2f') },
  { type: 'swap', description: 'swap space', marks: onPages('SWAPSPACE2', 'SWAP-SPACE') },
  {
    type: 'swsuspend',
    description: 'swap space with the memory of a machine that sleeps',
    marks: onPages('S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', 'LINHIB0001'),
  },
  { type: 'btrfs', description: 'a btrfs file system', marks: one(64 * kibibyte + 64, '_BHRfS_M') },
  { type: 'f2fs', description: 'an F2FS file system', marks: one(1024, '\x10\x20\xf5\xf2') },
  { type: 'ReFS', description: 'a ReFS file system', marks: one(0, '\0\0\0ReFS\0') },
  { type: 'apfs', description: 'an APFS container', marks: one(32, 'NXSB') },
  {
    type: 'hfsplus',
    description: 'an HFS+ file system',
    marks: [...one(1024, 'H+\0\x04'), ...one(1024, 'HX\0\x05')],
  },
  { type: 'ufs', description: 'a UFS file system', holds: isUfs },
  {
    type: 'nilfs2',
    description: 'a NILFS2 file system',
    marks: one(1024, '\x02\0\0\0\0\0\x34\x34'),
  },
  { type: 'jfs', description: 'a JFS file system', marks: one(32 * kibibyte, 'JFS1') },
  {
    type: 'reiserfs',
    description: 'a ReiserFS file system',
    marks: [8, 64].flatMap((place) => one(place * kibibyte + 52, 'ReIsEr')),
  },
  { type: 'reiser4', description: 'a Reiser4 file system', marks: one(64 * kibibyte, 'ReIsEr4') },
  {
    type: 'ocfs2',
    description: 'an OCFS2 file system',
    marks: [1, 2, 4, 8].map((place) => [place * kibibyte, latin('OCFSV2')] as const),
  },
  { type: 'gfs2', description: 'a GFS2 file system', marks: one(64 * kibibyte, '\x01\x16\x19\x70') },
  { type: 'squashfs', description: 'a squashfs image', marks: one(0, 'hsqs') },
  { type: 'erofs', description: 'an EROFS image', marks: one(1024, '\xe2\xe1\xf5\xe0') },
  { type: 'cramfs', description: 'a cramfs image', marks: one(0, '\x45\x3d\xcd\x28') },
  { type: 'udf', description: 'a UDF file system', holds: isUdf },
  { type: 'iso9660', description: 'an ISO 9660 image', marks: one(32 * kibibyte + 1, 'CD001') },
];

/** Names what is on a volume, by marks at their places. Undefined: nothing that is known. */
export async function signatureOf(disk: Disk, signal: AbortSignal): Promise<Signature | undefined> {
  const bytesAt = await reader(disk, signal);
  for (const { type, description, marks, holds } of probes) {
    if (marks && !(await hasMark(bytesAt, marks))) continue;
    if (holds && !(await holds(bytesAt, disk.size))) continue;
    return { type, description };
  }
  return undefined;
}

/** Whether a volume is a part of a Linux software RAID. What it holds may show through, older than in the others. */
export async function isRaidMember(disk: Disk, signal: AbortSignal): Promise<boolean> {
  return isMdMember(plainReader(disk, signal), disk.size);
}

async function hasMark(
  bytesAt: BytesAt,
  marks: ReadonlyArray<readonly [offset: number, bytes: Buffer]>,
): Promise<boolean> {
  for (const [offset, bytes] of marks) {
    if ((await bytesAt(offset, bytes.length))?.equals(bytes)) return true;
  }
  return false;
}

/** Reads the volume's head once, and what is behind it as it is asked for. */
async function reader(disk: Disk, signal: AbortSignal): Promise<BytesAt> {
  const bytesAt = plainReader(disk, signal);
  const head = await bytesAt(0, Math.min(headBytes, disk.size));
  return async (offset, length) => {
    if (head && offset >= 0 && offset + length <= head.length) return head.subarray(offset, offset + length);
    return bytesAt(offset, length);
  };
}

function plainReader(disk: Disk, signal: AbortSignal): BytesAt {
  return async (offset, length) => {
    if (offset < 0 || !Number.isSafeInteger(offset) || length > disk.size - offset) return undefined;
    const bytes = Buffer.alloc(length);
    await disk.read(offset, bytes, signal);
    return bytes;
  };
}

/** include/uapi/linux/raid/md_p.h: superblocks of 0.90 and 1.0 are at the end, those of 1.1 and 1.2 at the start. */
async function isMdMember(bytesAt: BytesAt, size: number): Promise<boolean> {
  const magic = 0xa92b4efc;
  const reserved = 64 * kibibyte;
  const old = await bytesAt(Math.floor(size / reserved) * reserved - reserved, 64);
  if (old) {
    const little = old.readUInt32LE(0) === magic;
    const number = (at: number): number => (little ? old.readUInt32LE(at) : old.readUInt32BE(at));
    const usedBytes = number(32) * kibibyte;
    if (number(0) === magic && number(4) === 0 && usedBytes <= size - reserved) return true;
  }
  const page = 4 * kibibyte;
  for (const offset of [Math.floor(size / page) * page - 2 * page, 0, page]) {
    const superblock = await bytesAt(offset, 256);
    if (
      superblock?.readUInt32LE(0) === magic &&
      superblock.readUInt32LE(4) === 1 &&
      superblock.readBigUInt64LE(144) === BigInt(offset / 512)
    )
      return true;
  }
  return false;
}

/** Its boot sector looks like one of FAT: the metadata that it tells of has the mark. */
async function isBitLockerToGo(bytesAt: BytesAt): Promise<boolean> {
  const sector = await bytesAt(0, 512);
  const metadata = await bytesAt(Number(sector?.readBigUInt64LE(440) ?? 0n), 8);
  return metadata?.toString('latin1') === '-FVE-FS-';
}

/** ZFS On-Disk Specification, 1.2: labels of 256 KiB, whose second half is a ring of uberblocks. Four of them are no accident. */
async function isZfsMember(bytesAt: BytesAt, size: number): Promise<boolean> {
  const label = 256 * kibibyte;
  const end = Math.floor(size / label) * label;
  let count = 0;
  for (const start of [0, label, end - 2 * label, end - label]) {
    const ring = await bytesAt(start + 128 * kibibyte, 128 * kibibyte);
    for (let at = 0; ring && at < ring.length; at += kibibyte) {
      if (ring.readBigUInt64LE(at) === 0x00bab10cn || ring.readBigUInt64BE(at) === 0x00bab10cn) count++;
      if (count === 4) return true;
    }
  }
  return false;
}

/** The mark is the last field of a superblock, which has had four places. */
async function isUfs(bytesAt: BytesAt): Promise<boolean> {
  const marks = new Set([0x00011954, 0x19540119, 0x00195612, 0x00095014, 0x00612195, 0x05231994]);
  for (const place of [0, 8, 64, 256]) {
    const mark = await bytesAt(place * kibibyte + 1372, 4);
    if (mark && (marks.has(mark.readUInt32LE(0)) || marks.has(mark.readUInt32BE(0)))) return true;
  }
  return false;
}

/** ECMA-167, 2/8: descriptors from 32 KiB on, among them one of NSR02 or NSR03. */
async function isUdf(bytesAt: BytesAt): Promise<boolean> {
  const known = ['BEA01', 'BOOT2', 'CD001', 'CDW02', 'TEA01'];
  for (const step of [2048, 4096]) {
    for (let index = 0; index < 64; index++) {
      const word = (await bytesAt(32 * kibibyte + index * step + 1, 5))?.toString('latin1');
      if (word === 'NSR02' || word === 'NSR03') return true;
      if (word === undefined || !known.includes(word)) break;
    }
  }
  return false;
}

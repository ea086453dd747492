import type { Disk } from '../disk.js';
import { bytesOf, type Checked, refused } from './check.js';

// VMware Virtual Disk Format 1.1, "Hosted sparse extents": struct SparseExtentHeader, little-endian
const headerBytes = 512;
const sectorBytes = 512;
const compressedGrains = 1 << 16;
const directoryAtEnd = 2n ** 64n - 1n;
const longestDescriptor = 64 * 1024;
const singleFile = new Set(['monolithicSparse', 'streamOptimized']);

/**
 * Refuses a VMDK that is more than one file. A text descriptor may name any file of the host as an extent, an embedded
 * one a parent, and a sparse header without capacity sends QEMU to the descriptor's extents.
 */
export async function checkVmdk(image: Disk, subject: string, signal?: AbortSignal): Promise<Checked> {
  const header = await bytesOf(image, 0, headerBytes, signal);
  if (header.subarray(0, 4).toString('latin1') !== 'KDMV') {
    throw refused(subject, 'it is no sparse VMDK; descriptors name other files');
  }
  if (header.length < headerBytes) throw refused(subject, 'it is too short for a header');
  if (header.readBigUInt64LE(12) === 0n)
    throw refused(subject, 'its capacity is 0, so its extents are other files');
  if (header.readBigUInt64LE(28) !== 1n) throw refused(subject, 'its descriptor is not where QEMU reads it');
  const sectors = header.readBigUInt64LE(36);
  if (sectors < 1n || sectors * BigInt(sectorBytes) > BigInt(longestDescriptor)) {
    throw refused(subject, `its descriptor has ${sectors} sectors`);
  }
  // QEMU looks for a parent in 20 KiB from there on, whatever the header says of the descriptor's length.
  const bytes = await bytesOf(image, sectorBytes, Math.max(20 * 1024, Number(sectors) * sectorBytes), signal);
  const all = bytes.toString('latin1');
  const text = all.split('\0', 1)[0] ?? '';
  const createType = /^createType="([^"]*)"/m.exec(text)?.[1] ?? '(none)';
  if (!singleFile.has(createType))
    throw refused(subject, `its type is ${createType}, which is more than one file`);
  if (all.includes('parentFileNameHint')) throw refused(subject, 'it names a parent file');
  const parent = /^parentCID=(\w+)/m.exec(text)?.[1] ?? 'ffffffff';
  if (parent.toLowerCase() !== 'ffffffff') throw refused(subject, 'it builds on a parent');
  const extents = text.match(/^(RW|RDONLY|NOACCESS)\s/gm) ?? [];
  if (extents.length !== 1) throw refused(subject, `it has ${extents.length} extents`);
  // The last compressed grain is shorter than what QEMU reads for it; each tells its own length, so none reads as zeros.
  const isCompressed = (header.readUInt32LE(8) & compressedGrains) !== 0;
  return { needsTrueEnd: isCompressed || header.readBigUInt64LE(56) === directoryAtEnd };
}

import { crc32Register } from '../../../src/crc32.js';
import type { Disk } from '../../../src/disks/disk.js';
import { bytesDisk } from '../archives/tar/file-disk.js';

const seed = 0xf597a6cf;
const uuid = 'abcdefghijklmnopqrstuvwxyz012345';

/** A physical volume of sixteen extents of 4 KiB, whose group `vg` has these logical volumes: what no program of LVM's would write. */
export function textDisk(logicalVolumes: readonly string[]): Disk {
  return bytesDisk(
    physicalVolume(`vg { id = "${uuid}" seqno = 1 extent_size = 8
      physical_volumes { pv0 { id = "${uuid}" pe_start = 256 pe_count = 16 } }
      logical_volumes { ${logicalVolumes.join('\n')} } }`),
  );
}

/** A physical volume with that text. */
export function physicalVolume(text: string): Buffer {
  const area = { offset: 4096, size: 124 * 1024 };
  const bytes = Buffer.alloc(256 * 1024);
  const label = bytes.subarray(512, 1024);
  label.write('LABELONE', 0);
  label.writeBigUInt64LE(1n, 8);
  label.writeUInt32LE(32, 20);
  label.write('LVM2 001', 24);
  label.write(uuid, 32);
  label.writeBigUInt64LE(BigInt(bytes.length), 64);
  label.writeBigUInt64LE(131_072n, 72);
  label.writeBigUInt64LE(BigInt(area.offset), 104);
  label.writeBigUInt64LE(BigInt(area.size), 112);
  const header = bytes.subarray(area.offset, area.offset + 512);
  header.write(' LVM2 x[5A%r0N*>', 4, 'latin1');
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(area.offset), 24);
  header.writeBigUInt64LE(BigInt(area.size), 32);
  header.writeBigUInt64LE(512n, 40);
  const content = Buffer.from(`${text}\n\0`, 'latin1');
  content.copy(bytes, area.offset + 512);
  header.writeBigUInt64LE(BigInt(content.length), 48);
  header.writeUInt32LE(crc32Register(content, seed), 56);
  sealPhysicalVolume(bytes);
  return bytes;
}

/** Makes the checksums of the label and of the area's header good again. */
export function sealPhysicalVolume(bytes: Buffer): void {
  bytes.writeUInt32LE(crc32Register(bytes.subarray(512 + 20, 1024), seed), 512 + 16);
  bytes.writeUInt32LE(crc32Register(bytes.subarray(4096 + 4, 4096 + 512), seed), 4096);
}

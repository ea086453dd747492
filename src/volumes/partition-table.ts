import type { Disk } from '../disks/disk.js';
import { isFileSystemBootSector } from './boot-sector.js';
import { readGpt } from './gpt.js';
import { isPlausible, isProtective, mbrPartitions, parseMbr, sectorBytes } from './mbr.js';
import type { Partition } from './partition.js';

/**
 * The partitions of a disk, in the order of their table. Undefined: it has no table, so that the whole of it may be a file system.
 * `problem` is called with sentences that tell of "it", the disk.
 */
export async function readPartitionTable(
  disk: Disk,
  { signal, problem }: { signal: AbortSignal; problem: (sentence: string) => void },
): Promise<readonly Partition[] | undefined> {
  if (disk.size < sectorBytes) return undefined;
  const sector = Buffer.alloc(sectorBytes);
  await disk.read(0, sector, signal);
  const mbr = parseMbr(sector);
  // Linux asks for the MBR that protects a GPT: without it the disk was given to something else since.
  if (!mbr || mbr.entries.length === 0) return undefined;
  if (isProtective(mbr)) {
    const gpt = await readGpt(disk, signal);
    for (const sentence of gpt?.problems ?? ['it has no GPT, though its MBR says so']) problem(sentence);
    if (gpt && (gpt.partitions.length > 0 || gpt.problems.length === 0)) return gpt.partitions;
    // What a hybrid MBR tells of is better than nothing.
    const partitions = await mbrPartitions(disk, mbr, { signal, problem });
    return partitions.length > 0 ? partitions : undefined;
  }
  if (isFileSystemBootSector(sector) && !isPlausible(mbr, disk.size)) return undefined;
  return mbrPartitions(disk, mbr, { signal, problem });
}

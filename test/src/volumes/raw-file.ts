import type { Disk } from '../../../src/disks/disk.js';
import { nameFromText, nameToText } from '../../../src/name.js';
import { findVolumes } from '../../../src/volumes/find-volumes.js';
import type { GuestDisk, Volume } from '../../../src/volumes/volume.js';
import { fileDisk } from '../archives/tar/file-disk.js';

export const signal = new AbortController().signal;

/** The files as a guest's disks, with what is found on them. */
export interface Found {
  readonly volumes: readonly Volume[];
  readonly problems: readonly string[];
  /** The volume at that place. */
  at(path: string): Volume;
  bytes(path: string, offset?: number, length?: number): Promise<Buffer>;
  close(): Promise<void>;
}

export async function found(files: Readonly<Record<string, string>>): Promise<Found> {
  const disks: GuestDisk[] = [];
  for (const [name, file] of Object.entries(files))
    disks.push({ name: nameFromText(name), disk: await fileDisk(file) });
  return foundOn(disks);
}

export async function foundOn(disks: readonly GuestDisk[]): Promise<Found> {
  const problems: string[] = [];
  const volumes = await findVolumes(disks, { signal, problem: (sentence) => problems.push(sentence) });
  const at = (path: string): Volume => {
    const volume = volumes.find((each) => shown(each) === path);
    if (!volume) throw new Error(`${path} is not there, but ${volumes.map(shown).join(' ')}`);
    return volume;
  };
  return {
    volumes,
    problems,
    at,
    bytes: async (path, offset = 0, length) => {
      const { disk } = at(path);
      if (!disk) throw new Error(`${path} can't be read: ${problems.join('; ')}`);
      return contents(disk, offset, length);
    },
    close: async () => {
      for (const { disk } of disks) await disk.close();
    },
  };
}

export async function contents(disk: Disk, offset = 0, length = disk.size - offset): Promise<Buffer> {
  const bytes = Buffer.alloc(length, 0xff);
  await disk.read(offset, bytes, signal);
  return bytes;
}

export function shown({ path }: Volume): string {
  return path.map(nameToText).join('/');
}

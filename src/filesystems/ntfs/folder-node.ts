import { StillError } from '../../errors.js';
import type { Attributes } from '../../tree/attributes.js';
import type { Folder, ListedEntry } from '../file-system.js';
import { nameFromUtf16, nameToUtf16 } from './file-name.js';
import { folderOf } from './link-target.js';
import type { FileReference } from './mft-record.js';
import { SoughtName } from './upcase.js';
import { firstUserRecord, type Volume } from './volume.js';

const longestName = 255;
/** Set in the number of a file that a folder tells of and that is gone; above all numbers of records. */
const gone = 2n ** 40n;

/** The number of the record that an inode stands for. EIO: a folder told of it, and it is no longer that file's. */
export function recordOf(inode: bigint): number {
  if (inode < gone) return Number(inode);
  throw new StillError(
    'EIO',
    `a folder has a name for MFT record ${inode - gone}, which is no file's or another's now`,
  );
}

export function folderNode(
  volume: Volume,
  number: number,
  attributes: Attributes,
  xattrs: Pick<Folder, 'xattrs'>,
): Folder {
  const inodeOf = (file: FileReference, isCurrent: boolean): bigint =>
    isCurrent ? BigInt(file.record) : gone + (BigInt(file.record) % gone);
  // The volume's own files are hidden, and the root's name for itself.
  const isShown = ({ record }: FileReference): boolean => record >= firstUserRecord;
  return {
    type: 'directory',
    attributes,
    ...xattrs,
    async find(name, signal) {
      const text = nameToUtf16(name);
      if (text === undefined || text.length > longestName) return undefined;
      const sought = new SoughtName(text, await volume.upcase(signal));
      const entry = await (await volume.index(number, signal)).find(sought, signal);
      if (!entry || !isShown(entry.file)) return undefined;
      return { inode: inodeOf(entry.file, await volume.mft.isCurrent(entry.file, signal)), type: undefined };
    },
    async entries(after, signal) {
      const index = await volume.index(number, signal);
      for (let from = after; ; ) {
        const names = await index.names(from, signal);
        const last = names.at(-1);
        if (!last) return [];
        const entries: ListedEntry[] = [];
        for (const { name, file, cookie } of names) {
          if (!isShown(file)) continue;
          const isCurrent = volume.mft.isCurrentNow(file) ?? (await volume.mft.isCurrent(file, signal));
          const inode = inodeOf(file, isCurrent);
          entries.push({ name: nameFromUtf16(name), inode, type: undefined, cookie });
        }
        if (entries.length > 0) return entries;
        from = last.cookie;
      }
    },
    async parent(signal) {
      const above = await folderOf(await volume.file(number, signal), signal);
      if (above) return BigInt(above.record);
      throw new StillError('EIO', `MFT record ${number} is damaged: it has no name`);
    },
  };
}

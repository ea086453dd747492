import type { FileType } from '../../tree/attributes.js';

// ntfs-3g's layout.h: struct INTX_FILE. Services for Unix, and ntfs-3g by default, keep what Windows has not in files of the system.
const magicOf = { symlink: 'IntxLNK\x01', block: 'IntxBLK\0', character: 'IntxCHR\0' } as const;
const magicBytes = 8;
const deviceBytes = 24;
/** With the longest target. */
export const mostInterixBytes = magicBytes + 2 * 4096;

/** What a file with the attribute `system` stands for. */
export type InterixFile =
  | { readonly type: Extract<FileType, 'fifo' | 'socket'> }
  | {
      readonly type: Extract<FileType, 'block' | 'character'>;
      readonly major: number;
      readonly minor: number;
    }
  | { readonly type: Extract<FileType, 'symlink'>; readonly target: string };

/** By the whole content of a small file; undefined: it is a regular file. */
export function interixFile(content: Buffer, hidden: boolean): InterixFile | undefined {
  if (content.length <= 1) return hidden ? undefined : { type: content.length === 0 ? 'fifo' : 'socket' };
  const magic = content.toString('latin1', 0, magicBytes);
  const data = content.subarray(magicBytes);
  if (magic === magicOf.symlink && data.length > 0)
    return { type: 'symlink', target: data.toString('utf16le') };
  if (content.length !== deviceBytes || (magic !== magicOf.block && magic !== magicOf.character))
    return undefined;
  const type = magic === magicOf.block ? 'block' : 'character';
  return { type, major: data.readUInt32LE(0), minor: data.readUInt32LE(8) };
}

import { z } from 'zod';
import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { isAbort, messageOf } from '../../errors.js';
import { isEntryName, type Name, nameFromText } from '../../name.js';
import { type DiskFormat, diskFormats } from './disk-format.js';

/** The name of the file in which a backup says of itself what its files can't. */
export const backupJson = 'backup.json' as Name;

/** Larger ones are not read: nothing that belongs there comes near it. */
const mostBytes = 1024 * 1024;

const shape = z.looseObject({
  disks: z
    .record(z.string(), z.looseObject({ format: z.enum([...diskFormats, 'vhd']), file: z.string() }))
    .optional(),
});

/** A disk as `backup.json` declares it. */
export interface DeclaredDisk {
  readonly name: Name;
  readonly format: DiskFormat;
  /** Within the backup's folder: a plain name, or one in `disks/`. */
  readonly file: Name;
}

export interface Declared {
  readonly disks: readonly DeclaredDisk[];
  readonly problems: readonly string[];
}

/**
 * What a backup's own `backup.json` says of its disks: `{"disks": {"NAME": {"format": "raw", "file": "NAME.img"}}}`;
 * other keys are other readers'. What is malformed becomes a problem of the backup, never a failure.
 */
export async function readBackupJson(
  folder: StoreFolder,
  path: Name,
  signal: AbortSignal,
): Promise<Declared> {
  try {
    return declared(JSON.parse(await textOf(folder, path, signal)));
  } catch (error) {
    if (isAbort(error) || signal.aborted) throw error;
    return { disks: [], problems: [`backup.json is not used: ${messageOf(error)}`] };
  }
}

async function textOf(folder: StoreFolder, path: Name, signal: AbortSignal): Promise<string> {
  const file = await openRawImage(folder, path, signal);
  try {
    if (file.size > mostBytes)
      throw new Error(`it has ${file.size} bytes, more than the ${mostBytes} that are read`);
    const bytes = Buffer.alloc(file.size);
    await file.read(0, bytes, signal);
    return bytes.toString('utf8');
  } finally {
    await file.close();
  }
}

function declared(value: unknown): Declared {
  const parsed = shape.safeParse(value);
  if (!parsed.success) {
    const faults = parsed.error.issues.map(
      ({ path, message }) => `${path.join('.') || 'the whole'}: ${message}`,
    );
    return { disks: [], problems: [`backup.json is not used: ${faults.slice(0, 5).join('; ')}`] };
  }
  const disks: DeclaredDisk[] = [];
  const problems: string[] = [];
  for (const [text, { format, file }] of Object.entries(parsed.data.disks ?? {})) {
    const name = nameFromText(text);
    const path = nameFromText(file);
    if (isEntryName(name) && isOwnFile(path)) {
      disks.push({ name, format: format === 'vhd' ? 'vpc' : format, file: path });
    } else {
      const rule = 'a disk has a plain name, and its file is one of the backup or of its disks/ folder';
      problems.push(
        `backup.json: the disk ${JSON.stringify(text)} (file ${JSON.stringify(file)}) is not shown: ${rule}`,
      );
    }
  }
  return { disks, problems };
}

function isOwnFile(path: Name): boolean {
  return isEntryName(path.startsWith('disks/') ? (path.slice('disks/'.length) as Name) : path);
}

import { z } from 'zod';
import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { isAbort, messageOf, StillError } from '../../errors.js';
import { isEntryName, type Name, nameFromText } from '../../name.js';
import { backupReference } from './backup-folder-name.js';
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

const ownFile = z.string().refine((text) => isOwnFile(nameFromText(text)), {
  error: 'is neither a file of the backup nor of its disks/ folder',
});
const backupFolder = z.string().refine((text) => backupReference(nameFromText(text)) !== undefined, {
  error: 'is not the name of a backup\u2019s folder',
});
const bytes = z.int().nonnegative();

/** How a disk was stored: wholly (`none`, `new`), by its dirty bitmap (`reuse`), or by comparison with its parent. */
export const diskModes = ['none', 'new', 'reuse', 'compared'] as const;

const describedDisk = z.looseObject({
  file: ownFile,
  format: z.enum([...diskFormats, 'vhd']),
  /** Bytes that the guest sees. */
  size: bytes.optional(),
  /** The id of the snapshot whose state this is. */
  id: z.string().min(1).optional(),
  /** The id of the state that the snapshot's map was relative to. */
  base: z.string().min(1).nullable().optional(),
  mode: z.enum(diskModes).optional(),
  /** The backup that holds the disk's backing file. Null: the disk stands alone. */
  parent: backupFolder.nullable().optional(),
  sums: ownFile.optional(),
  /** What the map called changed. */
  dirtyBytes: bytes.optional(),
  /** What the file takes up. */
  storedBytes: bytes.optional(),
});

const description = z.looseObject({
  version: z.literal(1).optional(),
  tool: z.string().optional(),
  guest: z.string().optional(),
  type: z.enum(['qemu', 'lxc']).optional(),
  /** The snapshot's instant, RFC 3339 in UTC. */
  time: z.iso.datetime().optional(),
  chain: z.string().nullable().optional(),
  /** The snapshot's id. */
  snapshot: z.string().min(1).optional(),
  /** The backup that this one is an increment upon, where all of its disks agree or the first says so. */
  parent: backupFolder.nullable().optional(),
  disks: z.record(z.string(), describedDisk).optional(),
  archive: z
    .looseObject({ file: ownFile, sums: ownFile.optional(), storedBytes: bytes.optional() })
    .optional(),
});

/**
 * What `backup.json` says of a backup, for who makes and keeps backups: everything but the disks' files may be missing in what
 * others wrote, and keys that are not known are kept. Version 1.
 */
export type BackupDescription = z.output<typeof description>;
export type DescribedDisk = z.output<typeof describedDisk>;

/** Reads the text of a `backup.json`; `path` is what errors call it. EIO: it is malformed, or of a later version. */
export function parseBackupDescription(text: string, path: string): BackupDescription {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new StillError('EIO', `${path} is no JSON`, { cause: error });
  }
  const parsed = description.safeParse(value);
  if (!parsed.success)
    throw new StillError('EIO', `${path} is not understood: ${faultsOf(parsed.error).join('; ')}`);
  return parsed.data;
}

/** The text of a `backup.json`. */
export function backupDescriptionText(described: BackupDescription): string {
  return `${JSON.stringify(described, null, 2)}\n`;
}

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
    return { disks: [], problems: [`backup.json is not used: ${faultsOf(parsed.error).join('; ')}`] };
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

/** The first faults, each with its place. */
function faultsOf({ issues }: z.ZodError): string[] {
  return issues.slice(0, 5).map(({ path, message }) => `${path.join('.') || 'the whole'}: ${message}`);
}

function isOwnFile(path: Name): boolean {
  return isEntryName(path.startsWith('disks/') ? (path.slice('disks/'.length) as Name) : path);
}

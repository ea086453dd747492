import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors.js';
import { SumsFile } from '../sums/sums-file.js';
import type { Damage } from './damage.js';

/**
 * Opens the checksums of a part of a backup, in the backup's folder. `declared`: the file that the backup itself names; without it, `FILE.sums`
 * is used where it is there. Undefined: the part has none, or they are damaged and that is ignored.
 */
export async function openSums(
  folder: string,
  part: { readonly file: string; readonly sizeBytes: number; readonly declared?: string | undefined },
  damage: Damage,
  signal: AbortSignal,
): Promise<SumsFile | undefined> {
  const path = join(folder, part.declared ?? `${part.file}.sums`);
  let sums: SumsFile;
  try {
    sums = await SumsFile.open(path, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (hasCode(error, 'ENOENT') && part.declared === undefined) return undefined;
    const why = hasCode(error, 'ENOENT') ? `${path} is missing` : messageOf(error);
    damage.found(`${part.file} can't be compared with its checksums: ${why}`);
    return undefined;
  }
  if (sums.sizeBytes === part.sizeBytes) return sums;
  await sums.close();
  const sizes = `${part.sizeBytes} bytes, and its checksums are of ${sums.sizeBytes}`;
  damage.found(`${join(folder, part.file)} has ${sizes}`);
  return undefined;
}

import { messageOf, StillError } from '../../errors.js';
import { attributeTypes } from './attribute.js';
import { isLogClean, restartPageBytes, restartPages } from './log-file.js';
import { SoughtName } from './upcase.js';
import { firstUserRecord, systemFiles, type Volume } from './volume.js';

// ntfs-3g's layout.h: struct VOLUME_INFORMATION
const dirty = 1;
const versions = new Set(['1.1', '1.2', '3.0', '3.1']);
const mostLabelBytes = 256;
const hibernationFile = 'hiberfil.sys';
const hibernated = new Set(['hibr', 'HIBR']);

/** What a volume tells of itself, and what of it may not be as Windows knows it: a sentence each. */
export async function readVolumeState(
  volume: Volume,
  signal: AbortSignal,
): Promise<{ readonly label: string | undefined }> {
  const file = await volume.file(systemFiles.volume, signal);
  const information = await volume.whole(file, attributeTypes.volumeInformation, '', 64, signal);
  if (!information || information.length < 12)
    throw new StillError('EIO', 'the NTFS volume does not tell which version it is of');
  const version = `${information.readUInt8(8)}.${information.readUInt8(9)}`;
  if (!versions.has(version))
    throw new StillError('EOPNOTSUPP', `an NTFS volume of version ${version}; 1.1 to 3.1 are read`);
  const label = await volume.whole(file, attributeTypes.volumeName, '', mostLabelBytes, signal);
  if ((information.readUInt16LE(10) & dirty) !== 0)
    volume.problem(
      'The volume is marked as dirty: Windows would check it, and may show some files otherwise.',
    );
  await tellOfLog(volume, signal);
  await tellOfHibernation(volume, signal);
  return { label: label && label.length > 0 ? label.toString('utf16le') : undefined };
}

async function tellOfLog(volume: Volume, signal: AbortSignal): Promise<void> {
  try {
    const bytes = await head(volume, systemFiles.logFile, restartPages * restartPageBytes, signal);
    if (isLogClean(bytes) === false)
      volume.problem(
        'The volume was in use: what Windows had written to its log alone is not shown, so the newest files and names may be missing or damaged.',
      );
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof StillError)) throw error;
    volume.problem(`Whether the volume was in use can't be told: ${messageOf(error)}.`);
  }
}

async function tellOfHibernation(volume: Volume, signal: AbortSignal): Promise<void> {
  try {
    const index = await volume.index(systemFiles.root, signal);
    const entry = await index.find(
      new SoughtName(hibernationFile, await volume.upcase(signal), false),
      signal,
    );
    if (!entry || entry.file.record < firstUserRecord) return;
    const begin = await head(volume, entry.file.record, 4, signal);
    if (hibernated.has(begin.toString('latin1')))
      volume.problem(
        'Windows is hibernated: what it had not yet written to this volume is in its memory alone.',
      );
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof StillError)) throw error;
    volume.problem(`Whether Windows is hibernated can't be told: ${messageOf(error)}.`);
  }
}

/** The first bytes of a file's data. */
async function head(volume: Volume, number: number, length: number, signal: AbortSignal): Promise<Buffer> {
  const file = await volume.file(number, signal);
  const data = await file.find(attributeTypes.data, '', signal);
  if (!data) return Buffer.alloc(0);
  const { size, content } = volume.value(file, data);
  const bytes = Buffer.alloc(Math.min(length, size));
  await content.read(0, bytes, signal);
  return bytes;
}

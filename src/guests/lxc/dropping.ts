import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { hasCode, messageOf, StillError } from '../../errors.js';
import { nameFromText } from '../../name.js';
import { btrfsUuid, deleteSubvolume, syncBtrfs } from '../../posix/btrfs.js';
import type { RecordFile } from '../state/record-file.js';
import { thaw } from './freezer.js';
import type { LxcRecord } from './snapshot-record.js';
import { killCommand, runUserCommand } from './user-command.js';

/**
 * Removes all that a record tells of, and then the record. It can be done again at any point. Gives a sentence for each
 * thing that is left: then the record stays.
 */
export async function dropRecorded(file: RecordFile<LxcRecord>): Promise<readonly string[]> {
  const record = await file.read();
  if (record) {
    const left: string[] = [];
    for (const part of [letGo, deleteAll, runDrop]) {
      try {
        await part(record, file);
      } catch (error) {
        left.push(messageOf(error));
      }
    }
    if (left.length > 0) return left;
  }
  await file.remove();
  return [];
}

/** Nobody is left who would. */
async function letGo(record: LxcRecord, file: RecordFile<LxcRecord>): Promise<void> {
  if (record.frozen === null) return;
  await thaw(record.frozen);
  await file.write({ ...record, frozen: null });
}

async function deleteAll({ subvolumes, guest }: LxcRecord): Promise<void> {
  const folders = new Map<string, string>(subvolumes.map(({ folder, uuid }) => [folder, uuid]));
  for (const [path, uuid] of folders) {
    const names = subvolumes.filter(({ folder }) => folder === path).map(({ name }) => name);
    const what = `${names.length} subvolume${names.length === 1 ? '' : 's'} of guest ${guest} in ${path}`;
    let folder: FileHandle;
    try {
      folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      throw new StillError('EIO', `${what} can't be deleted`, { cause: error });
    }
    try {
      const there = await btrfsUuid(folder.fd).catch((error: unknown) => messageOf(error));
      if (there !== uuid)
        throw new StillError('EIO', `${what} can't be deleted: its file system (${uuid}) is not mounted`);
      for (const name of names) {
        await deleteSubvolume(folder.fd, nameFromText(name)).catch((error: unknown) => {
          if (!hasCode(error, 'ENOENT')) throw error;
        });
      }
      // The record must not go before they are gone for good.
      await syncBtrfs(folder.fd);
    } finally {
      await folder.close();
    }
  }
}

async function runDrop(record: LxcRecord, file: RecordFile<LxcRecord>): Promise<void> {
  const { command, guest, name, id } = record;
  if (!command) return;
  if (command.running) await killCommand(command.running);
  const facts = {
    STILLFS_GUEST: guest,
    STILLFS_SNAPSHOT: name,
    STILLFS_ID: id,
    STILLFS_FOLDER: command.folder ?? '',
    STILLFS_OUTCOME: record.taken ? await file.readOutcome() : 'failure',
  };
  const run = {
    what: `drop of guest ${guest}`,
    command: command.drop,
    milliseconds: command.dropMilliseconds,
  };
  await runUserCommand({ ...run, facts }, new AbortController().signal);
}

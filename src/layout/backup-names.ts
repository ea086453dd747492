import type { Name } from '../name.js';
import type { BackupReference } from '../stores/store.js';
import type { Time } from '../time.js';

/** The time of a backup as its folder is named: ISO 8601 basic, in UTC, whole seconds (`20241113T095719Z`). */
export function timeName({ seconds }: Time): Name {
  const text = new Date(seconds * 1000).toISOString(); // 2024-11-13T09:57:19.000Z
  return `${text.slice(0, -5).replaceAll(/[-:]/g, '')}Z` as Name;
}

const extended = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z$/;

/** The basic form of a time that is written in the extended one (`2024-11-13T09:57:19Z`); undefined for other names. */
export function basicName(name: Name): Name | undefined {
  const parts = extended.exec(name);
  if (!parts) return undefined;
  const [, year, month, day, hour, minute, second] = parts;
  return `${year}${month}${day}T${hour}${minute}${second}Z` as Name;
}

/** A backup and the name that it has in its guest's folder. */
export interface NamedBackup {
  readonly name: Name;
  readonly reference: BackupReference;
}

/**
 * The names of a guest's backups, in the order in which the store gives them. The first backup of a time has the
 * time's name; another of the very same second has the name of its own folder in the store after it
 * (`20241113T095719Z-lxc-1731491839`), which never means another backup.
 */
export function backupNames(references: readonly BackupReference[]): NamedBackup[] {
  let before = '' as Name;
  return references.map((reference) => {
    const time = timeName(reference.time);
    const name = time === before ? (`${time}-${reference.folder}` as Name) : time;
    before = time;
    return { name, reference };
  });
}

import type { Name } from '../../name.js';
import type { BackupReference } from '../store.js';

const hypervisorForm = /^(qemu|lxc)-(0|[1-9][0-9]{0,11})$/;
const basicForm = /^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z$/;
const extendedForm = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z$/;
/** The last second of the year 9999, after which ISO 8601 needs five digits. */
const latestSecond = 253_402_300_799;

/**
 * What the name of a backup's folder tells: `qemu-1731491839` and `lxc-1731491839` (seconds since 1970), or the time in
 * ISO 8601, basic (`20241113T095719Z`) or extended (`2024-11-13T09:57:19Z`), whole seconds in UTC. Undefined for every
 * other name: what failed (`….failed`), what is being made (`.…`), and the files beside the backups.
 */
export function backupReference(folder: Name): BackupReference | undefined {
  const hypervisor = hypervisorForm.exec(folder);
  if (hypervisor) {
    const seconds = Number(hypervisor[2]);
    const kind = hypervisor[1] === 'qemu' ? 'qemu' : 'lxc';
    return seconds > latestSecond ? undefined : { time: { seconds, nanoseconds: 0 }, folder, kind };
  }
  const iso = basicForm.exec(folder) ?? extendedForm.exec(folder);
  if (!iso) return undefined;
  const text = `${iso[1]}-${iso[2]}-${iso[3]}T${iso[4]}:${iso[5]}:${iso[6]}.000Z`;
  const date = new Date(text);
  // Date takes the 30th of February for the 1st of March: only what comes out the same is a time.
  if (Number.isNaN(date.getTime()) || date.toISOString() !== text || date.getTime() < 0) return undefined;
  return { time: { seconds: date.getTime() / 1000, nanoseconds: 0 }, folder, kind: undefined };
}

/** Oldest first; backups of one time in the order of the forms of their folders' names. */
export function byTime(a: BackupReference, b: BackupReference): number {
  if (a.time.seconds !== b.time.seconds) return a.time.seconds - b.time.seconds;
  return formOf(a) - formOf(b);
}

/** Of one time there can be one folder in each form. 0: basic, 1: extended, 2: qemu, 3: lxc. */
export function formOf(reference: BackupReference): 0 | 1 | 2 | 3 {
  if (reference.kind === 'qemu') return 2;
  if (reference.kind === 'lxc') return 3;
  return reference.folder.includes(':') ? 1 : 0;
}

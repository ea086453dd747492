import { nameFromText } from '../name.js';
import { backupReference } from '../stores/directory/backup-folder-name.js';
import { CommandError, ExitCode } from './exit-code.js';

/** What `STORE[:GUEST[/TIME]]` names: a store, a guest's backups in it, or one of them. */
export interface BackupAddress {
  /** A store's name in the configuration, or a folder; `namedStore` tells which. */
  readonly store: string;
  readonly guest?: string;
  /** `latest`, or a time in a form that a backup's folder can have; `backupNamed` finds the folder. */
  readonly time?: string;
}

/** How much of an address a command needs. */
export type AddressPart = 'store' | 'guest' | 'time';

const forms: Readonly<Record<AddressPart, string>> = {
  store: 'STORE',
  guest: 'STORE:GUEST',
  time: 'STORE:GUEST/TIME',
};

/**
 * Takes an address apart. A store's path may hold colons, and so may a time; of a guest's name they are no part. It is never
 * guessed: what has a colon and is no address is refused, unless it ends with `/` and so is a folder. Throws a CommandError
 * where it is malformed, tells less than `least`, or more than `most`.
 */
export function parseBackupAddress(
  text: string,
  { least, most }: { readonly least: AddressPart; readonly most: AddressPart },
): BackupAddress {
  const address = addressOf(text);
  const told: AddressPart = address?.time !== undefined ? 'time' : address?.guest ? 'guest' : 'store';
  const order: readonly AddressPart[] = ['store', 'guest', 'time'];
  const fits = order.indexOf(told) >= order.indexOf(least) && order.indexOf(told) <= order.indexOf(most);
  if (address && fits) return address;
  const wanted = order.slice(order.indexOf(least), order.indexOf(most) + 1).map((part) => forms[part]);
  const time = most === 'time' ? '; TIME is a backup\'s folder (20241113T095719Z), or "latest"' : '';
  const folder = text.includes(':') ? '; a folder whose path has a colon ends with "/"' : '';
  throw new CommandError(ExitCode.usage, `"${text}": expected ${wanted.join(' or ')}${time}${folder}`);
}

function addressOf(text: string): BackupAddress | undefined {
  if (text === '') return undefined;
  if (!text.includes(':') || text.endsWith('/')) return { store: text };
  for (let colon = text.indexOf(':', 1); colon >= 0; colon = text.indexOf(':', colon + 1)) {
    const [, guest, time] = /^([^/:]+)(?:\/([^/]+))?$/.exec(text.slice(colon + 1)) ?? [];
    if (guest === undefined || guest.startsWith('.')) continue;
    const store = text.slice(0, colon);
    if (time === undefined) return { store, guest };
    if (time === 'latest' || backupReference(nameFromText(time))) return { store, guest, time };
  }
  return undefined;
}

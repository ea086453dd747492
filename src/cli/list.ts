import { Command, Option } from 'commander';
import { ConfigError } from '../config/file.js';
import { type LogLevel, logLevels } from '../config/schema.js';
import { settingsFrom } from '../config/settings.js';
import { messageOf } from '../errors.js';
import { openLog } from '../log.js';
import { type Name, nameToText } from '../name.js';
import type { BackupReference, BackupStore } from '../stores/store.js';
import type { Time } from '../time.js';
import { columns } from './columns.js';
import { ExitCode } from './exit-code.js';
import { configOption, type Invocation, storeOption, tellPlaces } from './invocation.js';
import { realStore } from './mountpoint.js';
import { closeStores, openStores } from './open-stores.js';

/** What `list --json` prints. Keys may be added to it, never changed. Text that is not UTF-8 holds U+FFFD. */
export interface Listing {
  readonly stores: ReadonlyArray<{
    readonly name: string;
    readonly path: string;
    readonly guests: readonly ListedGuest[];
    /** Why the store could not be read. */
    readonly problem?: string;
  }>;
}

interface ListedGuest {
  readonly name: string;
  /** Oldest first. */
  readonly backups: readonly ListedBackup[];
  readonly problem?: string;
}

interface ListedBackup {
  /** RFC 3339, in UTC. */
  readonly time: string;
  /** The name of the backup's folder in the store. */
  readonly folder: string;
  readonly kind: 'qemu' | 'lxc' | null;
  /** It is not pruned. */
  readonly protected: boolean;
  /** What somebody has said of it. */
  readonly note?: string;
}

interface ListFlags {
  readonly config?: string;
  readonly store?: readonly string[];
  readonly json?: boolean;
  readonly logLevel?: LogLevel;
}

/** `stillfs list`: what the stores hold, without mounting. */
export function listCommand(invocation: Invocation): Command {
  return new Command('list')
    .description('list the guests and backups of stores, without mounting')
    .addOption(configOption())
    .addOption(storeOption())
    .option('--json', 'print JSON for programs')
    .addOption(new Option('--log-level <level>', 'how much the log says (default: warn)').choices(logLevels))
    .addHelpText('after', listHelp)
    .action(async (flags: ListFlags) => {
      invocation.exitCode = await list(flags, invocation);
    });
}

const listHelp = `
Times are those of the backups, in UTC. Behind them stands whether a backup is protected, and the first line of its note. A store or guest that can't be read is listed with the reason; the exit code is 1.

Examples:
  stillfs list --store /var/backups
  stillfs list --store nas=/net/nas/vm --json`;

async function list(flags: ListFlags, invocation: Invocation): Promise<ExitCode> {
  const settings = await settingsFrom({
    ...(flags.config !== undefined && { config: flags.config }),
    stores: flags.store ?? [],
    logLevel: flags.logLevel ?? 'warn',
  });
  tellPlaces(invocation, settings);
  if (settings.stores.length === 0) throw new ConfigError(['no store: give --store DIR, or a configuration']);
  for (const store of settings.stores) await realStore(store);
  const stores = await openStores(settings.stores, openLog(settings.logLevel));
  const paths = new Map(settings.stores.map(({ name, path }) => [name, path]));
  try {
    const listing: Listing = {
      stores: await Promise.all(
        stores.map(async (store) => ({ ...(await listStore(store)), path: paths.get(store.name) ?? '' })),
      ),
    };
    process.stdout.write(flags.json ? `${JSON.stringify(listing, null, 2)}\n` : table(listing));
    return problems(listing) === 0 ? ExitCode.fine : ExitCode.failure;
  } finally {
    await closeStores(stores);
  }
}

async function listStore(store: BackupStore): Promise<Omit<Listing['stores'][number], 'path'>> {
  const { signal } = new AbortController();
  const { name } = store;
  try {
    const guests: ListedGuest[] = [];
    for (const guest of await store.guests(signal)) {
      const backups = store.backups(guest, signal).then(
        async (references) => ({ backups: await listedAll(store, guest, references, signal) }),
        (error: unknown) => ({ backups: [], problem: messageOf(error) }),
      );
      guests.push({ name: nameToText(guest), ...(await backups) });
    }
    return { name, guests };
  } catch (error) {
    return { name, guests: [], problem: messageOf(error) };
  }
}

/** One after another: the store's queue depth is for all that list it. */
async function listedAll(
  store: BackupStore,
  guest: Name,
  references: readonly BackupReference[],
  signal: AbortSignal,
): Promise<ListedBackup[]> {
  const backups: ListedBackup[] = [];
  for (const reference of references) {
    const { time, folder, kind } = reference;
    const { isProtected, note } = await store.marks(guest, reference, signal);
    backups.push({
      time: rfc3339(time),
      folder: nameToText(folder),
      kind: kind ?? null,
      protected: isProtected,
      ...(note !== undefined && { note }),
    });
  }
  return backups;
}

function rfc3339({ seconds, nanoseconds }: Time): string {
  const whole = new Date(seconds * 1000).toISOString().replace('.000Z', '');
  return nanoseconds === 0 ? `${whole}Z` : `${whole}.${String(nanoseconds).padStart(9, '0')}Z`;
}

function problems({ stores }: Listing): number {
  return stores.flatMap((store) => [store, ...store.guests]).filter((each) => each.problem !== undefined)
    .length;
}

function table(listing: Listing): string {
  const rows: string[][] = [['STORE', 'GUEST', 'KIND', 'TIME', 'FOLDER', '']];
  for (const store of listing.stores) {
    if (store.problem !== undefined) rows.push([store.name, '-', '-', '-', store.problem]);
    else if (store.guests.length === 0) rows.push([store.name, '-', '-', '-', '(no guests)']);
    for (const guest of store.guests) {
      if (guest.problem !== undefined) rows.push([store.name, guest.name, '-', '-', guest.problem]);
      else if (guest.backups.length === 0) rows.push([store.name, guest.name, '-', '-', '(no backups)']);
      for (const { time, folder, kind, note, protected: isProtected } of guest.backups) {
        const said = [...(isProtected ? ['protected'] : []), ...(note?.split('\n').slice(0, 1) ?? [])];
        rows.push([store.name, guest.name, kind ?? '-', time, folder, said.join(': ')]);
      }
    }
  }
  return columns(rows);
}

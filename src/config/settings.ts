import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { hasCode } from '../errors.js';
import type { ContainerForm } from '../provider/container/container-archive.js';
import type { HookCommands } from '../provider/job/hooks.js';
import { ConfigError, readConfigFile } from './file.js';
import { type GuestSettings, guestsOf, guestsSaid } from './guest-settings.js';
import {
  type FileConfig,
  type IdRange,
  type LogLevel,
  storeName,
  storeNameRule,
  type TransportName,
} from './schema.js';

/** Where the configuration is looked for when nobody names another. It need not be there. */
export const defaultConfigFile = '/etc/stillfs/config.yaml';
/** Where snapshots of running guests are written down. */
export const defaultStateFolder = '/var/lib/stillfs';
/** What the cache may hold, in bytes. */
const defaultCacheLimit = 16 * 2 ** 30;

/** Where indexes of archives, and what was decompressed of them, are kept. */
export function defaultCacheFolder(): string {
  if (process.geteuid?.() === 0) return '/var/cache/stillfs';
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'stillfs');
}

export interface StoreSettings {
  readonly name: string;
  /** An absolute path. */
  readonly path: string;
  readonly idMap?: readonly IdRange[];
  /** How many file calls may be under way on the store at once. */
  readonly depth?: number;
}

/** What a command is to do, from the command line and the configuration file together. */
export interface Settings {
  readonly stores: readonly StoreSettings[];
  readonly guests: readonly GuestSettings[];
  /** An absolute path. */
  readonly state: string;
  readonly cache: {
    /** An absolute path. */
    readonly folder: string;
    /** Bytes. */
    readonly limit: number;
  };
  /** An absolute path. */
  readonly mountpoint?: string;
  readonly transport: TransportName;
  readonly allowOther: boolean;
  readonly openToOthers: boolean;
  readonly readOnly: boolean;
  readonly logLevel: LogLevel;
  readonly backup: {
    readonly hooks: HookCommands;
    /** Of containers: the form, if it is said, and what is left out. */
    readonly archive?: ContainerForm;
    readonly exclude: readonly string[];
    readonly excludeMounts: readonly string[];
  };
}

/** What was said on the command line. What is left out was not said. */
export interface Said {
  readonly config?: string;
  /** `DIR` or `NAME=DIR`. */
  readonly stores?: readonly string[];
  /** `id=…,qmp=…,fleecing=…` and more. */
  readonly guests?: readonly string[];
  readonly state?: string;
  /** A folder. */
  readonly cache?: string;
  readonly mountpoint?: string;
  readonly transport?: TransportName;
  readonly allowOther?: boolean;
  readonly openToOthers?: boolean;
  readonly readOnly?: boolean;
  readonly logLevel?: LogLevel;
}

/**
 * Joins the command line and the configuration file. What the command line says wins; stores and guests that it names
 * stand in place of all the file's. A mount with running guests takes snapshots, so it is read-write unless something else
 * is said. Throws a ConfigError.
 */
export async function settingsFrom(said: Said): Promise<Settings> {
  const file = said.config ?? ((await isThere(defaultConfigFile)) ? defaultConfigFile : undefined);
  const config: FileConfig = file === undefined ? {} : await readConfigFile(file);
  const folder = file === undefined ? '.' : dirname(file);
  const mountpoint =
    said.mountpoint ?? (config.mount?.mountpoint && besides(folder, config.mount.mountpoint));
  const namesAny = (said.stores?.length ?? 0) + (said.guests?.length ?? 0) > 0;
  const guests = namesAny ? guestsSaid(said.guests ?? []) : guestsOf(config.guests ?? [], folder);
  return {
    stores: namesAny ? storesSaid(said.stores ?? []) : storesOf(config, folder),
    guests,
    state:
      said.state === undefined ? besides(folder, config.state ?? defaultStateFolder) : resolve(said.state),
    cache: {
      folder:
        said.cache === undefined
          ? besides(folder, config.cache?.folder ?? defaultCacheFolder())
          : resolve(said.cache),
      limit: config.cache?.limit ?? defaultCacheLimit,
    },
    ...(mountpoint !== undefined && { mountpoint: resolve(mountpoint) }),
    transport: said.transport ?? config.mount?.transport ?? 'kernel',
    allowOther: said.allowOther ?? config.mount?.allowOther ?? false,
    openToOthers: said.openToOthers ?? config.mount?.openToOthers ?? false,
    readOnly: said.readOnly ?? config.mount?.readOnly ?? guests.length === 0,
    logLevel: said.logLevel ?? config.log?.level ?? 'info',
    backup: {
      hooks: config.backup?.hooks ?? {},
      ...(config.backup?.archive && { archive: config.backup.archive }),
      exclude: config.backup?.exclude ?? [],
      excludeMounts: config.backup?.excludeMounts ?? [],
    },
  };
}

/** The stores of a command line, each `DIR` or `NAME=DIR`. Throws a ConfigError. */
export function storesSaid(texts: readonly string[]): StoreSettings[] {
  const stores = new Map<string, StoreSettings>();
  for (const text of texts) {
    const { name, path } = storeSaid(text);
    const other = stores.get(name);
    if (other) {
      throw new ConfigError([
        `--store ${text}: the name "${name}" is already that of ${other.path}; give this one another: --store NAME=${path}`,
      ]);
    }
    stores.set(name, { name, path: resolve(path) });
  }
  return [...stores.values()];
}

function storeSaid(text: string): { name: string; path: string } {
  // A path that holds a `=` of its own begins with `/` or `.`, and then has no name before it.
  const named = /^([^/.=][^/=]*)=(.+)$/s.exec(text);
  if (named?.[1] !== undefined && named[2] !== undefined) {
    const [, name, path] = named;
    if (!storeName.test(name)) throw new ConfigError([`--store ${text}: "${name}" is not ${storeNameRule}`]);
    return { name, path };
  }
  if (text === '' || text.startsWith('=') || text.endsWith('=')) {
    throw new ConfigError([`--store "${text}": expected DIR or NAME=DIR`]);
  }
  return { name: nameFromPath(text), path: text };
}

/** The last part of a path, with every letter that a store's name can't hold made a `-`. */
function nameFromPath(path: string): string {
  const name = basename(resolve(path))
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 63);
  if (name === '')
    throw new ConfigError([`--store ${path}: no name can be made of this path: use NAME=${path}`]);
  return name;
}

function storesOf(config: FileConfig, folder: string): StoreSettings[] {
  return Object.entries(config.stores ?? {}).map(([name, { path, idMap, depth }]) => ({
    name,
    path: besides(folder, path),
    ...(idMap && { idMap }),
    ...(depth !== undefined && { depth }),
  }));
}

/** A path in a configuration file is relative to the folder of that file. */
function besides(folder: string, path: string): string {
  return resolve(folder, path);
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path, constants.F_OK);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return false;
    throw new ConfigError([`${path}: the configuration can't be read`], { cause: error });
  }
}

import { Option } from 'commander';
import { type LogLevel, logLevels } from '../config/schema.js';
import {
  defaultCacheFolder,
  defaultConfigFile,
  defaultStateFolder,
  type Settings,
  settingsFrom,
} from '../config/settings.js';
import type { ExitCode } from './exit-code.js';
import { wholeNumber } from './option-values.js';

/** One run of the program: what it was called with, and what came of it. */
export interface Invocation {
  /** What stands after `stillfs`. */
  args: readonly string[];
  /** Set by the command that ran. */
  exitCode: ExitCode;
  /** Whether errors are told with the place in the program where they arose. */
  debug: boolean;
}

/** `--config FILE`, as several commands take it. */
export function configOption(): Option {
  return new Option('--config <file>', `the configuration (default: ${defaultConfigFile} if it is there)`);
}

/** `--log-level LEVEL`, as several commands take it. */
export function logLevelOption(): Option {
  return new Option('--log-level <level>', 'how much the log says (default: info)').choices(logLevels);
}

/** `--wait SECONDS`, none unless it is said: for a guest's backups, or what else `description` tells. */
export function waitOption(description = "wait while the guest's backups are in use"): Option {
  return new Option('--wait <seconds>', description).argParser(wholeNumber(0)).default(0);
}

/** The settings of a command that takes no more of them than `--config` and `--log-level`. */
export async function settingsOf(
  { config, logLevel }: { readonly config?: string; readonly logLevel?: LogLevel },
  invocation: Invocation,
): Promise<Settings> {
  const settings = await settingsFrom({
    ...(config !== undefined && { config }),
    ...(logLevel !== undefined && { logLevel }),
  });
  tellPlaces(invocation, settings);
  return settings;
}

/** Who wants the log to say so much wants to know where errors arose, too. */
export function tellPlaces(invocation: Invocation, { logLevel }: Pick<Settings, 'logLevel'>): void {
  invocation.debug = logLevel === 'debug' || logLevel === 'trace';
}

/** `--store [NAME=]DIR`, as often as wanted, as several commands take it. */
export function storeOption(): Option {
  return new Option(
    '--store <[NAME=]DIR>',
    'a folder of backups; NAME is the last part of DIR unless given; may be repeated',
  ).argParser(collected);
}

/** `--guest id=…,…`, as often as wanted, as several commands take it. */
export function guestOption(): Option {
  return new Option(
    '--guest <id=ID,KEY=VALUE,…>',
    'a running VM (qmp=SOCKET,fleecing=DIR,…) or a container (type=lxc,conf=FILE or rootfs=DIR,snapshot=btrfs,…), with the keys of the configuration; may be repeated',
  ).argParser(collected);
}

/** `--state DIR`. */
export function stateOption(): Option {
  return new Option('--state <dir>', `where snapshots are written down (default: ${defaultStateFolder})`);
}

/** `--cache DIR`. */
export function cacheOption(): Option {
  return new Option('--cache <dir>', `where indexes of archives are kept (default: ${defaultCacheFolder()})`);
}

/** Gathers the values of an option that may be repeated. */
export function collected(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

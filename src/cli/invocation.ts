import { Option } from 'commander';
import { defaultConfigFile, defaultStateFolder } from '../config/settings.js';
import type { ExitCode } from './exit-code.js';

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

/** `--store [NAME=]DIR`, as often as wanted, as several commands take it. */
export function storeOption(): Option {
  return new Option(
    '--store <[NAME=]DIR>',
    'a folder of backups; NAME is the last part of DIR unless given; may be repeated',
  ).argParser(collected);
}

/** `--guest id=…,qmp=…,fleecing=…`, as often as wanted, as several commands take it. */
export function guestOption(): Option {
  return new Option(
    '--guest <id=ID,qmp=SOCKET,fleecing=DIR,…>',
    'a running VM; more keys as in the configuration: agent, conf, disks, readable…; may be repeated',
  ).argParser(collected);
}

/** `--state DIR`. */
export function stateOption(): Option {
  return new Option('--state <dir>', `where snapshots are written down (default: ${defaultStateFolder})`);
}

/** Gathers the values of an option that may be repeated. */
export function collected(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

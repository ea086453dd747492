import { ConfigError } from '../config/file.js';
import { didYouMean } from '../config/nearest.js';
import { type LogLevel, logLevels, type TransportName, transports } from '../config/schema.js';

/** What `-o` can say of a mount, the way mount(8) and /etc/fstab do. */
export interface FstabOptions {
  readonly stores: readonly string[];
  readonly config?: string;
  readonly transport?: TransportName;
  readonly logLevel?: LogLevel;
  readonly logFile?: string;
  readonly allowOther?: boolean;
  readonly openToOthers?: boolean;
  readonly readOnly?: boolean;
}

type Building = { -readonly [Key in keyof Omit<FstabOptions, 'stores'>]: FstabOptions[Key] } & {
  stores: string[];
};

// For mount(8), systemd and users of fstab, not for the file system; or true of every mount of stillfs.
const ofNoEffect = new Set(
  (
    'defaults auto noauto user users nouser owner group nofail _netdev async nosuid nodev ' +
    'relatime noatime nodiratime strictatime default_permissions exec'
  ).split(' '),
);
// mount.fuse3(8) adds `suid` and `dev` by itself wherever fstab does not say nosuid, nodev. They stay off all the same.
// `noexec` is not ours to give: nothing here is run unless somebody does so by name.
const notGranted = new Set(['suid', 'dev', 'noexec']);

// Maps, not objects: `-o constructor` must not find what every object has.
const flags = new Map<string, (options: Building) => void>(
  Object.entries({
    ro: (options: Building) => {
      options.readOnly = true;
    },
    rw: (options: Building) => {
      options.readOnly = false;
    },
    allow_other: (options: Building) => {
      options.allowOther = true;
    },
    open_to_others: (options: Building) => {
      options.openToOthers = true;
    },
  }),
);

const values = new Map<string, (options: Building, value: string) => void>(
  Object.entries({
    store: (options: Building, value: string) => {
      options.stores.push(value);
    },
    config: (options: Building, value: string) => {
      options.config = value;
    },
    log_file: (options: Building, value: string) => {
      options.logFile = value;
    },
    log_level: (options: Building, value: string) => {
      options.logLevel = oneOf('log_level', value, logLevels);
    },
    transport: (options: Building, value: string) => {
      options.transport = oneOf('transport', value, transports);
    },
  }),
);

/** Parses the texts of `-o`, each a list with commas. Throws a ConfigError that names what it does not know. */
export function parseFstabOptions(texts: readonly string[]): FstabOptions {
  const options: Building = { stores: [] };
  for (const item of texts.flatMap((text) => text.split(','))) {
    const equals = item.indexOf('=');
    const name = equals === -1 ? item : item.slice(0, equals);
    const flag = flags.get(item);
    const value = values.get(name);
    if (flag) flag(options);
    else if (value) {
      if (equals === -1 || equals === item.length - 1)
        throw new ConfigError([`-o ${name}: expected ${name}=VALUE`]);
      value(options, item.slice(equals + 1));
    } else if (!isOfNoEffect(item)) {
      const known = [...flags.keys(), ...values.keys()];
      throw new ConfigError([
        `-o ${item}: unknown option${didYouMean(name, known)}; known: ${known.join(', ')}`,
      ]);
    }
  }
  return options;
}

function isOfNoEffect(item: string): boolean {
  return item === '' || ofNoEffect.has(item) || notGranted.has(item) || /^(x-|comment=)/.test(item);
}

function oneOf<T extends string>(name: string, value: string, known: readonly T[]): T {
  const found = known.find((each) => each === value);
  if (found !== undefined) return found;
  throw new ConfigError([
    `-o ${name}=${value}: expected one of ${known.join(', ')}${didYouMean(value, known)}`,
  ]);
}

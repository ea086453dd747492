import { resolve } from 'node:path';
import { type LxcGuestSettings, lxcDefaults, type SnapshotWay } from '../guests/lxc/settings.js';
import { type QemuGuestSettings, qemuDefaults } from '../guests/qemu/settings.js';
import { ConfigError } from './file.js';
import { type GuestConfig, guestSchema, guestSchemaOf } from './guest-schema.js';
import { idMapSaid } from './id-range.js';
import type { LxcGuestConfig } from './lxc-guest-schema.js';
import { didYouMean } from './nearest.js';
import type { QemuGuestConfig } from './qemu-guest-schema.js';

export type GuestSettings = QemuGuestSettings | LxcGuestSettings;

/** The guests of a command line, each `id=…` and more keys of the configuration. Throws a ConfigError. */
export function guestsSaid(texts: readonly string[]): GuestSettings[] {
  return distinct(texts.map((text) => guestFrom(guestSaid(text), '.')));
}

/** The guests of a configuration file; paths are relative to its folder. Throws a ConfigError. */
export function guestsOf(guests: readonly GuestConfig[], folder: string): GuestSettings[] {
  return distinct(guests.map((guest) => guestFrom(guest, folder)));
}

function guestFrom(guest: GuestConfig, folder: string): GuestSettings {
  return guest.type === 'lxc' ? containerFrom(guest, folder) : machineFrom(guest, folder);
}

function machineFrom(guest: QemuGuestConfig, folder: string): QemuGuestSettings {
  const { agent, fleecingLimit, disks } = guest;
  const images =
    disks && !Array.isArray(disks)
      ? Object.fromEntries(Object.entries(disks).map(([name, path]) => [name, resolve(folder, path)]))
      : undefined;
  return {
    type: 'qemu',
    id: guest.id,
    monitor: resolve(folder, guest.qmp),
    ...(agent !== undefined && { agent: resolve(folder, agent) }),
    ...filesOf(guest, folder),
    fleecing: resolve(folder, guest.fleecing),
    ...(fleecingLimit !== undefined && { fleecingLimitBytes: fleecingLimit }),
    ...(disks && { disks: Array.isArray(disks) ? disks : Object.keys(disks) }),
    ...(images && { images }),
    readable: guest.readable ?? qemuDefaults.readable,
    ...limitsOf(guest, qemuDefaults),
    copyTimeoutSeconds: guest.copyTimeout ?? qemuDefaults.copyTimeoutSeconds,
  };
}

function containerFrom(guest: LxcGuestConfig, folder: string): LxcGuestSettings {
  const { id, rootfs, name, lxcPath, ids, idMap } = guest;
  return {
    type: 'lxc',
    id,
    ...filesOf(guest, folder),
    ...(rootfs !== undefined && { rootfs: resolve(folder, rootfs) }),
    ...(name !== undefined && { name }),
    ...(lxcPath !== undefined && { lxcPath: resolve(folder, lxcPath) }),
    snapshot: snapshotWay(guest, folder),
    ids: ids ?? lxcDefaults.ids,
    ...(idMap && { idMap }),
    ...limitsOf(guest, lxcDefaults),
  };
}

function snapshotWay({ snapshot, snapshots, take, drop }: LxcGuestConfig, folder: string): SnapshotWay {
  if (snapshot === 'btrfs')
    return { kind: 'btrfs', ...(snapshots !== undefined && { folder: resolve(folder, snapshots) }) };
  if (snapshot === 'none' || take === undefined || drop === undefined) return { kind: 'none' };
  return { kind: 'command', take, drop };
}

function filesOf(
  { conf, firewall }: GuestConfig,
  folder: string,
): { readonly configuration?: string; readonly firewall?: string } {
  return {
    ...(conf !== undefined && { configuration: resolve(folder, conf) }),
    ...(firewall !== undefined && { firewall: resolve(folder, firewall) }),
  };
}

interface Limits {
  readonly takeMilliseconds: number;
  readonly freezeMilliseconds: number;
  readonly longestSnapshotMilliseconds?: number;
}

function limitsOf({ takeTimeout, freezeTimeout, maxAge }: GuestConfig, defaults: Limits): Limits {
  const milliseconds = (seconds: number | undefined, otherwise: number): number =>
    seconds === undefined ? otherwise : Math.round(seconds * 1000);
  return {
    takeMilliseconds: milliseconds(takeTimeout, defaults.takeMilliseconds),
    freezeMilliseconds: milliseconds(freezeTimeout, defaults.freezeMilliseconds),
    ...(maxAge !== undefined && { longestSnapshotMilliseconds: milliseconds(maxAge, 0) }),
  };
}

function distinct(guests: GuestSettings[]): GuestSettings[] {
  const seen = new Set<string>();
  for (const { id } of guests) {
    if (seen.has(id)) throw new ConfigError([`guests: there are two with the id ${id}`]);
    seen.add(id);
  }
  return guests;
}

/** What a value of some keys stands for; that of all others is text. */
const values: Readonly<Record<string, (value: string) => unknown>> = {
  takeTimeout: Number,
  freezeTimeout: Number,
  copyTimeout: Number,
  maxAge: Number,
  disks: disksSaid,
  idMap: idMapSaid,
};
const forms: Readonly<Record<string, string>> = {
  disks: ' (A+B, or A:IMAGE)',
  idMap: ' (INSIDE:OUTSIDE:COUNT, and more with + between)',
};

function guestSaid(text: string): GuestConfig {
  const said: Record<string, unknown> = {};
  const items = text.split(',');
  const [, type] = /(?:^|,)type=([^,]*)/.exec(text) ?? [];
  const known = Object.keys(guestSchemaOf(type).shape);
  for (const item of items) {
    const equals = item.indexOf('=');
    const key = equals === -1 ? item : item.slice(0, equals);
    const value = item.slice(equals + 1);
    if (!known.includes(key))
      throw new ConfigError([
        `--guest ${text}: unknown key "${key}"${didYouMean(key, known)}; known: ${known.join(', ')}`,
      ]);
    if (equals === -1 || value === '')
      throw new ConfigError([`--guest ${text}: expected ${key}=VALUE${forms[key] ?? ''}`]);
    said[key] = values[key]?.(value) ?? value;
  }
  const checked = guestSchema.safeParse(said);
  if (checked.success) return checked.data;
  throw new ConfigError(
    checked.error.issues.map((issue) => {
      const key = issue.path.join('.');
      const missing = issue.code !== 'custom' && issue.path.length === 1 && said[key] === undefined;
      return `--guest ${text}: ${missing ? `${key}=… is missing` : `${key}: ${issue.message}`}`;
    }),
  );
}

/** `A+B`, or `A:/path/a.qcow2+B:/path/b.raw`. */
function disksSaid(value: string): string[] | Record<string, string> {
  const parts = value.split('+').map((part) => part.split(/:(.*)/s, 2));
  if (!parts.some(([, image]) => image !== undefined)) return parts.flatMap(([name]) => name ?? []);
  return Object.fromEntries(parts.map(([name = '', image = '']) => [name, image]));
}

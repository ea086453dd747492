import { resolve } from 'node:path';
import { type QemuGuestSettings, qemuDefaults } from '../guests/qemu/settings.js';
import { ConfigError } from './file.js';
import { type GuestConfig, guestSchema } from './guest-schema.js';
import { didYouMean } from './nearest.js';

export type GuestSettings = QemuGuestSettings;

/** The guests of a command line, each `id=…,qmp=…,fleecing=…` and more keys of the configuration. Throws a ConfigError. */
export function guestsSaid(texts: readonly string[]): GuestSettings[] {
  return distinct(texts.map((text) => guestFrom(guestSaid(text), '.')));
}

/** The guests of a configuration file; paths are relative to its folder. Throws a ConfigError. */
export function guestsOf(guests: readonly GuestConfig[], folder: string): GuestSettings[] {
  return distinct(guests.map((guest) => guestFrom(guest, folder)));
}

function guestFrom(guest: GuestConfig, folder: string): GuestSettings {
  const { agent, conf, firewall, fleecingLimit, disks, maxAge } = guest;
  const milliseconds = (seconds: number | undefined, otherwise: number): number =>
    seconds === undefined ? otherwise : Math.round(seconds * 1000);
  const images =
    disks && !Array.isArray(disks)
      ? Object.fromEntries(Object.entries(disks).map(([name, path]) => [name, resolve(folder, path)]))
      : undefined;
  return {
    id: guest.id,
    monitor: resolve(folder, guest.qmp),
    ...(agent !== undefined && { agent: resolve(folder, agent) }),
    ...(conf !== undefined && { configuration: resolve(folder, conf) }),
    ...(firewall !== undefined && { firewall: resolve(folder, firewall) }),
    fleecing: resolve(folder, guest.fleecing),
    ...(fleecingLimit !== undefined && { fleecingLimitBytes: fleecingLimit }),
    ...(disks && { disks: Array.isArray(disks) ? disks : Object.keys(disks) }),
    ...(images && { images }),
    readable: guest.readable ?? qemuDefaults.readable,
    takeMilliseconds: milliseconds(guest.takeTimeout, qemuDefaults.takeMilliseconds),
    freezeMilliseconds: milliseconds(guest.freezeTimeout, qemuDefaults.freezeMilliseconds),
    copyTimeoutSeconds: guest.copyTimeout ?? qemuDefaults.copyTimeoutSeconds,
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

const numbers = new Set(['takeTimeout', 'freezeTimeout', 'copyTimeout', 'maxAge']);

function guestSaid(text: string): GuestConfig {
  const said: Record<string, unknown> = {};
  const known = Object.keys(guestSchema.shape);
  for (const item of text.split(',')) {
    const equals = item.indexOf('=');
    const key = equals === -1 ? item : item.slice(0, equals);
    const value = item.slice(equals + 1);
    if (!known.includes(key))
      throw new ConfigError([
        `--guest ${text}: unknown key "${key}"${didYouMean(key, known)}; known: ${known.join(', ')}`,
      ]);
    if (equals === -1 || value === '')
      throw new ConfigError([
        `--guest ${text}: expected ${key}=VALUE${key === 'disks' ? ' (A+B, or A:IMAGE)' : ''}`,
      ]);
    said[key] = key === 'disks' ? disksSaid(value) : numbers.has(key) ? Number(value) : value;
  }
  const checked = guestSchema.safeParse(said);
  if (checked.success) return checked.data;
  throw new ConfigError(
    checked.error.issues.map((issue) => {
      const key = issue.path.join('.');
      const missing = issue.code === 'invalid_type' && said[key] === undefined;
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

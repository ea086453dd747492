import { resolve } from 'node:path';
import { ConfigError } from '../config/file.js';
import { type Settings, type StoreSettings, storesSaid } from '../config/settings.js';

/** The store of that name in the configuration, else the folder of that path. Throws a ConfigError. */
export function namedStore(text: string, { stores }: Pick<Settings, 'stores'>): StoreSettings {
  const configured = stores.find(({ name }) => name === text);
  if (configured) return configured;
  const [said] = storesSaid([text]);
  if (!said) throw new ConfigError([`--store "${text}": expected a store's name, or DIR`]);
  return { ...said, path: resolve(said.path) };
}

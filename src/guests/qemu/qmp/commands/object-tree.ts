import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';

/** Sets a property of an object, by its path (`/machine/peripheral/ID`). */
export async function qomSet(
  connection: QmpConnection,
  path: string,
  name: string,
  value: string | number | boolean,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('qom-set', { path, property: name, value }, z.unknown(), options);
}

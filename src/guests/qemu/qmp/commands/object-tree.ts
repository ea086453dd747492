import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';

const property = z.object({ name: z.string(), type: z.string() });

/** A property of an object in QEMU; one of type `child<…>` or `link<…>` is an object itself. */
export type QomProperty = z.output<typeof property>;

/** The properties of an object, by its path (`/machine/peripheral/ID`). */
export function qomList(
  connection: QmpConnection,
  path: string,
  options?: CommandOptions,
): Promise<QomProperty[]> {
  return connection.execute('qom-list', { path }, z.array(property), options);
}

export function qomGet<S extends z.ZodType>(
  connection: QmpConnection,
  path: string,
  name: string,
  schema: S,
  options?: CommandOptions,
): Promise<z.output<S>> {
  return connection.execute('qom-get', { path, property: name }, schema, options);
}

export async function qomSet(
  connection: QmpConnection,
  path: string,
  name: string,
  value: string | number | boolean,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('qom-set', { path, property: name, value }, z.unknown(), options);
}

import { z } from 'zod';
import { StillError } from '../../../../errors.js';
import type { CommandOptions, QmpConnection } from '../connection.js';
import { QmpError } from '../qmp-error.js';

/** Where QEMU's NBD server listens: a path that it makes, or the name of a listening socket that was passed by `passNamed`. */
export type NbdAddress = { readonly path: string } | { readonly descriptorName: string };

/**
 * Starts QEMU's NBD server. There is one in each process: EBUSY where somebody runs it already, which no query tells before.
 */
export async function startNbdServer(
  connection: QmpConnection,
  address: NbdAddress,
  maxConnections: number,
  options?: CommandOptions,
): Promise<void> {
  const addr =
    'path' in address
      ? { type: 'unix', data: { path: address.path } }
      : { type: 'fd', data: { str: address.descriptorName } };
  try {
    const args = { addr, 'max-connections': maxConnections };
    await connection.execute('nbd-server-start', args, z.unknown(), options);
  } catch (error) {
    if (!(error instanceof QmpError) || !/already running/.test(error.description)) throw error;
    const why = 'its QEMU serves NBD for another program, and can do so only once';
    throw new StillError('EBUSY', `${connection.guest} can't be exported: ${why}`, { cause: error });
  }
}

/** Stops QEMU's NBD server and ends all its exports, other programs' too. */
export async function stopNbdServer(connection: QmpConnection, options?: CommandOptions): Promise<void> {
  await connection.execute('nbd-server-stop', undefined, z.unknown(), options);
}

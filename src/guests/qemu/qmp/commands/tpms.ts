import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';
import { QmpError } from '../qmp-error.js';

const tpms = z.array(z.object({ id: z.string() }));

/** The ids of the guest's TPMs; none where QEMU was built without. */
export async function queryTpms(connection: QmpConnection, options?: CommandOptions): Promise<string[]> {
  try {
    return (await connection.execute('query-tpm', undefined, tpms, options)).map(({ id }) => id);
  } catch (error) {
    if (error instanceof QmpError && error.errorClass === 'CommandNotFound') return [];
    throw error;
  }
}

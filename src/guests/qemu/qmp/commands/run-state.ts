import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';

const status = z.object({ status: z.string(), running: z.boolean() });

/** Whether a guest's processors run, and in which state they are (`running`, `paused`, `prelaunch`, `inmigrate`…). */
export type RunState = z.output<typeof status>;

export function queryStatus(connection: QmpConnection, options?: CommandOptions): Promise<RunState> {
  return connection.execute('query-status', undefined, status, options);
}

/** Stops the guest's processors and waits for its writes to be flushed: seconds, where there are many. */
export async function stop(connection: QmpConnection, options?: CommandOptions): Promise<void> {
  await connection.execute('stop', undefined, z.unknown(), options);
}

/** Lets the guest's processors run again. */
export async function cont(connection: QmpConnection, options?: CommandOptions): Promise<void> {
  await connection.execute('cont', undefined, z.unknown(), options);
}

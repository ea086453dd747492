import { z } from 'zod';
import { joinSignals } from '../../../../joined-signal.js';
import type { CommandOptions, QmpConnection } from '../connection.js';

const blockExport = z
  .object({ id: z.string(), type: z.string(), 'node-name': z.string(), 'shutting-down': z.boolean() })
  .transform(({ id, type, 'node-name': node, 'shutting-down': shuttingDown }) => ({
    id,
    /** `nbd`, `fuse`, `vhost-user-blk`… */
    type,
    node,
    shuttingDown,
  }));

/** A block node that QEMU shows to other programs. */
export type BlockExport = z.output<typeof blockExport>;

/** All exports, of whatever program. */
export function queryBlockExports(
  connection: QmpConnection,
  options?: CommandOptions,
): Promise<BlockExport[]> {
  return connection.execute('query-block-exports', undefined, z.array(blockExport), options);
}

/** BlockExportOptions of qapi/block-export.json, of type `nbd`. */
export interface NbdExport {
  readonly id: string;
  readonly 'node-name': string;
  /** What clients ask for; the node's name if not said. */
  readonly name?: string;
  /** Allows trims too. */
  readonly writable?: boolean;
  /** Told to clients: what one writes all others see at once. */
  readonly 'multi-conn'?: 'on' | 'off' | 'auto';
  /** Shown as meta contexts `qemu:dirty-bitmap:NAME`. A bitmap can be shown by one export only. */
  readonly bitmaps?: ReadonlyArray<string | { readonly node: string; readonly name: string }>;
}

export async function addNbdExport(
  connection: QmpConnection,
  nbdExport: NbdExport,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('block-export-add', { type: 'nbd', ...nbdExport }, z.unknown(), options);
}

/**
 * Ends an export and comes back when it is gone (BLOCK_EXPORT_DELETED), so that its node can be removed. `hard` sends clients
 * away; `safe` refuses while there are some.
 */
export async function deleteExport(
  connection: QmpConnection,
  id: string,
  mode: 'hard' | 'safe',
  options: CommandOptions = {},
): Promise<void> {
  const refused = new AbortController();
  const { signal, part } = joinSignals(refused.signal, ...(options.signal ? [options.signal] : []));
  const gone = connection.waitFor('BLOCK_EXPORT_DELETED', ({ data }) => data.id === id, {
    ...options,
    signal,
  });
  try {
    try {
      await connection.execute('block-export-del', { id, mode }, z.unknown(), options);
    } catch (error) {
      refused.abort(error);
      throw error;
    }
    await gone;
  } finally {
    part();
  }
}

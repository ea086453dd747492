import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';
import { blockNode } from './block-nodes.js';

const device = z
  .object({
    device: z.string(),
    qdev: z.string().optional(),
    removable: z.boolean(),
    inserted: blockNode.optional(),
  })
  .transform(({ device: name, qdev, removable, inserted }) => ({
    /** The name of its backend (`-drive id=`); empty where it has none. */
    name,
    /** The path of the device in QEMU's object tree, or its id; undefined where no device uses the backend. */
    qomPath: qdev,
    removable,
    /** The node at the top; undefined for an empty drive. */
    inserted,
  }));

/** A disk drive as the guest sees it. */
export type BlockDevice = z.output<typeof device>;

export function queryBlock(connection: QmpConnection, options?: CommandOptions): Promise<BlockDevice[]> {
  return connection.execute('query-block', undefined, z.array(device), options);
}

import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';

const bitmap = z
  .object({
    name: z.string().optional(),
    /** Bytes. */
    count: z.number(),
    granularity: z.number(),
    recording: z.boolean(),
    busy: z.boolean(),
    persistent: z.boolean(),
    inconsistent: z.boolean().default(false),
  })
  .transform(({ count, granularity, ...rest }) => ({
    ...rest,
    dirtyBytes: count,
    granularityBytes: granularity,
  }));

/** BlockDeviceInfo of qapi/block-core.json. */
export const blockNode = z
  .object({
    'node-name': z.string().optional(),
    drv: z.string(),
    ro: z.boolean(),
    file: z.string(),
    image: z.object({ 'virtual-size': z.number(), 'cluster-size': z.number().optional() }),
    'dirty-bitmaps': z.array(bitmap).default([]),
  })
  .transform((node) => ({
    name: node['node-name'],
    driver: node.drv,
    readOnly: node.ro,
    /** As QEMU writes it: a path, or `json:…`. */
    file: node.file,
    sizeBytes: node.image['virtual-size'],
    clusterBytes: node.image['cluster-size'],
    bitmaps: node['dirty-bitmaps'],
  }));

/** A dirty bitmap of a block node. */
export type DirtyBitmap = z.output<typeof bitmap>;
/** A node of QEMU's block graph. */
export type BlockNode = z.output<typeof blockNode>;

/** All block nodes, each without those that it is made of. */
export function queryNamedBlockNodes(
  connection: QmpConnection,
  options?: CommandOptions,
): Promise<BlockNode[]> {
  return connection.execute('query-named-block-nodes', { flat: true }, z.array(blockNode), options);
}

interface AnyNode {
  readonly 'node-name'?: string;
  readonly 'read-only'?: boolean;
  readonly discard?: 'ignore' | 'unmap';
  readonly 'detect-zeroes'?: 'off' | 'on' | 'unmap';
  readonly cache?: { readonly direct?: boolean; readonly 'no-flush'?: boolean };
}

/** The name of a node that is there, or a new one. */
type NodeReference = string | BlockdevOptions;

/** Those of QEMU's BlockdevOptions that a snapshot is made of, as qapi/block-core.json has them. */
export type BlockdevOptions =
  | (AnyNode & {
      readonly driver: 'file' | 'host_device';
      readonly filename: string;
      readonly locking?: 'on' | 'off' | 'auto';
      readonly aio?: 'threads' | 'native' | 'io_uring';
    })
  | (AnyNode & {
      readonly driver: 'raw';
      readonly file: NodeReference;
      readonly size?: number;
      readonly offset?: number;
    })
  | (AnyNode & {
      readonly driver: 'qcow2';
      readonly file: NodeReference;
      readonly backing?: NodeReference | null;
    })
  | (AnyNode & {
      readonly driver: 'copy-before-write';
      readonly file: NodeReference;
      readonly target: NodeReference;
      /** Only what is dirty in it is kept for the snapshot, and can be read. */
      readonly bitmap?: { readonly node: string; readonly name: string };
      readonly 'on-cbw-error'?: 'break-guest-write' | 'break-snapshot';
      /** Seconds; 0 waits for ever. */
      readonly 'cbw-timeout'?: number;
    })
  | (AnyNode & { readonly driver: 'snapshot-access'; readonly file: NodeReference });

export async function blockdevAdd(
  connection: QmpConnection,
  node: BlockdevOptions,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('blockdev-add', node, z.unknown(), options);
}

export async function blockdevDel(
  connection: QmpConnection,
  node: string,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('blockdev-del', { 'node-name': node }, z.unknown(), options);
}

import { z } from 'zod';
import type { CommandOptions, QmpConnection } from '../connection.js';

const added = z.object({ 'fdset-id': z.number(), fd: z.number() });
const set = z
  .object({
    'fdset-id': z.number(),
    fds: z.array(z.object({ fd: z.number(), opaque: z.string().optional() })),
  })
  .transform(({ 'fdset-id': id, fds }) => ({ id, descriptors: fds }));

/** A set of descriptors of one file, each opened with other flags; `opaque` is whatever was said of it when it was passed. */
export type DescriptorSet = z.output<typeof set>;

/** What QEMU opens in place of a file to get one of a set's descriptors. */
export function descriptorSetPath(id: number): string {
  return `/dev/fdset/${id}`;
}

/**
 * Passes a descriptor into a set, or a new one, and gives the set's number. QEMU takes from a set whichever descriptor has the
 * access it needs (read-only, read and write). What no node has open when the monitor's last client leaves, QEMU closes.
 */
export async function passIntoSet(
  connection: QmpConnection,
  descriptor: number,
  into: { readonly id?: number; readonly opaque?: string } = {},
  options?: CommandOptions,
): Promise<number> {
  const args = { 'fdset-id': into.id, opaque: into.opaque };
  const { 'fdset-id': id } = await connection.execute('add-fd', args, added, {
    ...options,
    descriptors: [descriptor],
  });
  return id;
}

/** Closes QEMU's descriptors of a set; what has them open keeps its own. */
export async function removeSet(
  connection: QmpConnection,
  id: number,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('remove-fd', { 'fdset-id': id }, z.unknown(), options);
}

export function queryDescriptorSets(
  connection: QmpConnection,
  options?: CommandOptions,
): Promise<DescriptorSet[]> {
  return connection.execute('query-fdsets', undefined, z.array(set), options);
}

/** Passes a descriptor under a name (not beginning with a digit), by which one later command of this monitor takes it. */
export async function passNamed(
  connection: QmpConnection,
  descriptor: number,
  name: string,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('getfd', { fdname: name }, z.unknown(), { ...options, descriptors: [descriptor] });
}

/** Closes a descriptor that was passed under a name and that no command has taken. */
export async function closeNamed(
  connection: QmpConnection,
  name: string,
  options?: CommandOptions,
): Promise<void> {
  await connection.execute('closefd', { fdname: name }, z.unknown(), options);
}

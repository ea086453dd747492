import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, messageOf, StillError } from '../../../errors.js';
import { ImageServer } from '../../disks/image-server.js';
import type { FilePlace } from '../place.js';
import type { DiskTarget } from './disk-target.js';

const sectorBytes = 512;

/** Restores a disk to a qcow2 image that stands alone, in which zeros take up nothing. QEMU writes it. */
export async function openQcow2File(
  place: FilePlace,
  sizeBytes: number,
  signal: AbortSignal,
): Promise<DiskTarget> {
  const sockets = await mkdtemp(join(tmpdir(), 'stillfs-restore-'));
  // A qcow2 image has whole sectors. What is added is zeros, as qemu-img convert has it.
  const wholeBytes = Math.ceil(sizeBytes / sectorBytes) * sectorBytes;
  const image = { path: place.beside, sizeBytes: wholeBytes };
  let server: ImageServer | undefined;
  const end = async (): Promise<void> => {
    await server?.close();
    server = undefined;
    await rm(sockets, { recursive: true, force: true });
  };
  try {
    server = await ImageServer.start([image], sockets, signal);
  } catch (error) {
    await end();
    await place.leave();
    throw error;
  }
  const [writer] = server.writers;
  if (!writer) throw new RangeError('an image has a writer');
  const told = async (writing: Promise<unknown>, writes: AbortSignal): Promise<void> => {
    try {
      await writing;
    } catch (error) {
      writes.throwIfAborted();
      throw new StillError(codeOf(error), `${place.path} can't be written: ${messageOf(error)}`);
    }
  };
  return {
    path: place.path,
    write: (offset, bytes, writes) => {
      const over = bytes.length % sectorBytes;
      const whole = over === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(sectorBytes - over)]);
      return told(writer.write(offset, whole, undefined, writes), writes);
    },
    zero: async () => undefined,
    settle: async (writes) => {
      await told(server?.finish(writes) ?? Promise.resolve(), writes);
      await end();
    },
    commit: () => place.take(),
    discard: async () => {
      await end();
      await place.leave();
    },
  };
}

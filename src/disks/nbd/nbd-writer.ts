import { StillError } from '../../errors.js';
import { mustLieWithin } from '../disk-range.js';
import { type NbdConnectionOptions, NbdConnections } from './connections.js';
import { pieces } from './pieces.js';
import { ExportFlag } from './protocol.js';

/** `fua`: the bytes are on stable storage before the call returns. */
export interface WriteDurability {
  readonly fua?: boolean;
}

/**
 * An NBD export that is written. Offsets and lengths are bytes and multiples of `minimumBlock` (or end at the end of
 * the disk); anything else is EINVAL. Errors have the errno that the server names: ENOSPC, EPERM, EIO …
 */
export interface NbdWriter {
  readonly size: number;
  /** The smallest piece that can be written, in bytes. */
  readonly minimumBlock: number;
  /** Writes all of `bytes`, which must not change before the call returns; after an abort, not before `close` has. */
  write(offset: number, bytes: Uint8Array, how?: WriteDurability, signal?: AbortSignal): Promise<void>;
  /** Makes a range read as zeros. `noHole`: keep its space allocated. EOPNOTSUPP where the server can't. */
  writeZeroes(
    offset: number,
    length: number,
    how?: WriteDurability & { readonly noHole?: boolean },
    signal?: AbortSignal,
  ): Promise<void>;
  /** Brings everything whose write has returned onto stable storage. */
  flush(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Of one request for zeros, in bytes: below the 32 bits of its length, and a multiple of any block. */
const longestZeroes = 2 ** 30;

/**
 * Opens an export for writing: EROFS where it can't be written. Lost connections are never made anew: what a server
 * that went away had taken but not flushed may be lost, so the writer has to begin again.
 */
export async function openNbdWriter(
  options: Omit<NbdConnectionOptions, 'reconnect'>,
  signal?: AbortSignal,
): Promise<NbdWriter> {
  const connections = await NbdConnections.open({ ...options, reconnect: false }, [], signal);
  const { size, flags, minimumBlock, maximumBlock } = connections.served;
  const name = `the NBD export "${options.exportName}"`;
  if ((flags & ExportFlag.readOnly) !== 0) {
    await connections.close();
    throw new StillError('EROFS', `${name} can only be read`);
  }
  return {
    size,
    minimumBlock,
    write: async (offset, bytes, how, writing) => {
      mustLieWithin({ size }, name, offset, bytes.byteLength);
      const written = pieces(offset, bytes.byteLength, maximumBlock).map((piece) => {
        const begin = piece.offset - offset;
        const payload = bytes.subarray(begin, begin + piece.length);
        return connections.once(
          (connection) => connection.write(piece.offset, payload, how?.fua ?? false, writing),
          writing,
        );
      });
      await all(written);
    },
    writeZeroes: async (offset, length, how, writing) => {
      mustLieWithin({ size }, name, offset, length);
      const flagged = { fua: how?.fua ?? false, noHole: how?.noHole ?? false };
      const written = pieces(offset, length, longestZeroes).map((piece) =>
        connections.once(
          (connection) => connection.writeZeroes(piece.offset, piece.length, flagged, writing),
          writing,
        ),
      );
      await all(written);
    },
    flush: (flushing) => connections.once((connection) => connection.flush(flushing), flushing),
    close: () => connections.close(),
  };
}

/** Waits for all, also where one fails: nothing is under way any more when the caller hears of it. */
async function all(written: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

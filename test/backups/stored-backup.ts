import { createHash } from 'node:crypto';
import { open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

/** What `backup.json` says, as far as tests look at it. */
export interface Described {
  readonly chain: string | null;
  readonly parent: string | null;
  readonly snapshot: string;
  readonly time: string;
  readonly disks: Readonly<
    Record<
      string,
      {
        readonly mode: string;
        readonly base: string | null;
        readonly id: string;
        readonly parent: string | null;
        readonly dirtyBytes: number;
        readonly storedBytes: number;
        readonly size: number;
      }
    >
  >;
}

/** The backups of a guest in a store, oldest first; nothing else may be there but the lock. */
export async function storedBackups(guestFolder: string): Promise<string[]> {
  const names = (await readdir(guestFolder)).filter((name) => name !== '.lock').sort();
  const strange = names.filter((name) => !/^\d{8}T\d{6}Z$/.test(name));
  if (strange.length > 0) throw new Error(`${guestFolder} holds ${strange.join(', ')}`);
  return names;
}

export async function described(backup: string): Promise<Described> {
  return JSON.parse(await readFile(join(backup, 'backup.json'), 'utf8'));
}

/**
 * The sha256 of a stored disk as QEMU reads it through its whole chain. The image must be consistent, and every checksum beside it
 * that of QEMU's bytes.
 */
export async function restoredSha256(backup: string, disk: string): Promise<string> {
  const image = join(backup, `${disk}.qcow2`);
  const raw = join(backup, `.${disk}.restored`);
  await execa('qemu-img', ['check', '-q', image]);
  await execa('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, raw]);
  try {
    const sums = await readFile(join(backup, `${disk}.sums`));
    const whole = createHash('sha256');
    const file = await open(raw, 'r');
    try {
      const { size } = await file.stat();
      const blocks = Math.ceil(size / 2 ** 20);
      if (sums.length !== 64 + 32 * (blocks + 1) || sums.readBigUInt64LE(32) !== BigInt(size))
        throw new Error(`${disk}.sums of ${backup} is not that of ${size} bytes`);
      for (let block = 0; block < blocks; block++) {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(2 ** 20), 0, 2 ** 20, block * 2 ** 20);
        const bytes = buffer.subarray(0, bytesRead);
        whole.update(bytes);
        const at = 64 + 32 * block;
        if (
          !createHash('sha256')
            .update(bytes)
            .digest()
            .equals(sums.subarray(at, at + 32))
        )
          throw new Error(`checksum ${block} of ${disk} in ${backup} is not that of its bytes`);
      }
    } finally {
      await file.close();
    }
    return whole.digest('hex');
  } finally {
    await rm(raw, { force: true });
  }
}

/** What the data in an image takes up, in bytes: without its metadata. */
export async function dataBytes(backup: string, disk: string): Promise<number> {
  const { stdout } = await execa('qemu-img', ['map', '--output=json', join(backup, `${disk}.qcow2`)]);
  const rows: Array<{ length: number; depth: number; data: boolean }> = JSON.parse(stdout);
  return rows.filter(({ depth, data }) => depth === 0 && data).reduce((sum, { length }) => sum + length, 0);
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

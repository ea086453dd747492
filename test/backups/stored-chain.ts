import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { restoredSha256 } from './stored-backup.js';

const mebibyte = 2 ** 20;

/** What a guest does to a disk between two backups; offsets and lengths are bytes, multiples of 64 KiB. */
export type Change =
  | { readonly offset: number; readonly length: number; readonly pattern: number }
  | { readonly offset: number; readonly length: number; readonly zeroes: true };

export interface NewBackup {
  /** By disk. A disk that is not named is not in the backup. */
  readonly changes: Readonly<Record<string, readonly Change[]>>;
  /** The backup that it builds on; by default the one that was added last. Null: it stands alone. */
  readonly parent?: string | null;
  /** The sizes of disks in bytes, where they are not as before. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** The backup's folder; by default a day after the one before. */
  readonly time?: string;
}

/**
 * Backups of a guest in a store, made by qemu-img and qemu-io as `stillfs backup` would have made them, and what their disks held when
 * they were made. Checksums are those of QEMU's bytes.
 */
export class StoredChain {
  readonly folder: string;
  readonly store: string;
  readonly guestFolder: string;
  /** The sha256 of each disk at each backup. */
  readonly #recorded = new Map<string, Record<string, string>>();
  #last: string | undefined;
  #day = 0;

  private constructor(
    folder: string,
    readonly guest: string,
  ) {
    this.folder = folder;
    this.store = join(folder, 'store');
    this.guestFolder = join(this.store, guest);
  }

  static async make(guest = '100'): Promise<StoredChain> {
    const chain = new StoredChain(await mkdtemp(join(tmpdir(), 'stillfs-chain-')), guest);
    await mkdir(chain.guestFolder, { recursive: true });
    return chain;
  }

  path(...parts: string[]): string {
    return join(this.guestFolder, ...parts);
  }

  /** Adds a backup and gives the name of its folder. */
  async add({ changes, parent = this.#last ?? null, sizes = {}, time }: NewBackup): Promise<string> {
    const day = new Date(Date.UTC(2024, 10, 1 + this.#day++));
    const name = time ?? day.toISOString().replace(/[-:]|\.000/g, '');
    await mkdir(this.path(name));
    const disks: Record<string, object> = {};
    const hashes: Record<string, string> = {};
    for (const [disk, done] of Object.entries(changes)) {
      const image = this.path(name, `${disk}.qcow2`);
      const below = parent !== null && (await this.#has(parent, disk)) ? parent : null;
      const size = sizes[disk] ?? (below === null ? 8 * mebibyte : await this.#sizeOf(below, disk));
      const backing = below === null ? [] : ['-b', `../${below}/${disk}.qcow2`, '-F', 'qcow2'];
      await execa('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, image, String(size)]);
      const commands = done.flatMap((change) => [
        '-c',
        'zeroes' in change
          ? `write -z ${change.offset} ${change.length}`
          : `write -P ${change.pattern} ${change.offset} ${change.length}`,
      ]);
      if (commands.length > 0) await execa('qemu-io', ['-f', 'qcow2', ...commands, image]);
      hashes[disk] = await this.#sum(name, disk, size);
      disks[disk] = {
        file: `${disk}.qcow2`,
        format: 'qcow2',
        size,
        id: `state-${name}`,
        base: below === null ? null : `state-${below}`,
        mode: below === null ? 'new' : 'reuse',
        parent: below,
        sums: `${disk}.sums`,
        storedBytes: (await stat(image)).blocks * 512,
      };
    }
    const described = {
      version: 1,
      guest: this.guest,
      type: 'qemu',
      chain: 'daily',
      snapshot: `state-${name}`,
      parent,
    };
    const time3339 = name.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
    await writeFile(this.path(name, 'backup.json'), JSON.stringify({ ...described, time: time3339, disks }));
    await this.addFile(name, 'guest.conf', 'memory: 192\n');
    this.#recorded.set(name, hashes);
    this.#last = name;
    return name;
  }

  /** Puts a file with its checksums into a backup. */
  async addFile(backup: string, name: string, content: string | Buffer): Promise<void> {
    await writeFile(this.path(backup, name), content);
    await writeFile(this.path(backup, `${name}.sums`), sumsOf(Buffer.from(content)));
  }

  /** A chain of so many backups of disks `vda` (8 MiB) and `vdb`, each of which overwrites parts of those before. */
  async addMany(count: number): Promise<string[]> {
    const cluster = 65_536;
    const names: string[] = [];
    for (let index = 0; index < count; index++) {
      const at = (index * 7 * cluster) % (6 * mebibyte);
      const vda: Change[] = [
        { offset: at, length: 3 * cluster, pattern: index + 1 },
        { offset: 4 * mebibyte, length: 5 * cluster, pattern: 100 + index },
        { offset: at + 5 * cluster, length: 2 * cluster, zeroes: true },
      ];
      if (index === 0) vda.unshift({ offset: 0, length: 6 * mebibyte, pattern: 255 });
      const vdb: Change[] = [{ offset: ((index * 3) % 16) * cluster, length: cluster, pattern: 50 + index }];
      // The last cluster of vdb is a short one; it grows once.
      const size = 2 * mebibyte + (index < 4 ? 0 : mebibyte) + 4096;
      names.push(await this.add({ changes: { vda, vdb }, sizes: { vdb: size } }));
    }
    return names;
  }

  /** The names of the backups, oldest first, whatever else is there. */
  async backups(): Promise<string[]> {
    return (await readdir(this.guestFolder)).filter((name) => !name.startsWith('.')).sort();
  }

  /** What is in the guest's folder and is no backup. */
  async left(): Promise<string[]> {
    return (await readdir(this.guestFolder)).filter((name) => name.startsWith('.') && name !== '.lock');
  }

  /** Disks of backups that are there and are not, as QEMU reads them, what they were. The store may have been copied elsewhere. */
  async wrong(guestFolder = this.guestFolder): Promise<string[]> {
    const wrong: string[] = [];
    for (const backup of (await readdir(guestFolder)).filter((name) => !name.startsWith('.')))
      for (const [disk, hash] of Object.entries(this.#recorded.get(backup) ?? {})) {
        const found = await restoredSha256(join(guestFolder, backup), disk).catch((error: unknown) =>
          String(error),
        );
        if (found !== hash) wrong.push(`${disk} of ${backup}: ${found}`);
      }
    return wrong;
  }

  hashes(backup: string): Record<string, string> {
    return this.#recorded.get(backup) ?? {};
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  async #has(backup: string, disk: string): Promise<boolean> {
    return (await readdir(this.path(backup))).includes(`${disk}.qcow2`);
  }

  async #sizeOf(backup: string, disk: string): Promise<number> {
    return Number((await readFile(this.path(backup, `${disk}.sums`))).readBigUInt64LE(32));
  }

  /** Writes the checksums of a disk, and gives the sha256 of all of it. */
  async #sum(backup: string, disk: string, size: number): Promise<string> {
    const raw = join(this.folder, 'raw');
    await execa('qemu-img', ['convert', '-O', 'raw', this.path(backup, `${disk}.qcow2`), raw]);
    const bytes = await readFile(raw);
    if (bytes.length !== size) throw new Error(`${disk} of ${backup} has ${bytes.length} bytes, not ${size}`);
    await writeFile(this.path(backup, `${disk}.sums`), sumsOf(bytes));
    await rm(raw);
    return createHash('sha256').update(bytes).digest('hex');
  }
}

/** A `.sums` file, as the contract for stores has it. */
export function sumsOf(bytes: Buffer): Buffer {
  const header = Buffer.alloc(64);
  header.write('stillfs sums\n', 'latin1');
  header.writeUInt32LE(1, 16);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(mebibyte), 24);
  header.writeBigUInt64LE(BigInt(bytes.length), 32);
  const digests: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += mebibyte)
    digests.push(
      createHash('sha256')
        .update(bytes.subarray(at, at + mebibyte))
        .digest(),
    );
  const sealed = Buffer.concat([header, ...digests]);
  return Buffer.concat([sealed, createHash('sha256').update(sealed).digest()]);
}

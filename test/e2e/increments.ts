import { open, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from '../machine/machine.js';
import { devicePath } from '../machine/machine.js';
import type { MountedGuest } from './mounted-guest.js';
import { output, sha256 } from './served-mount.js';

/** A range of a disk, in bytes. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** QEMU's dirty bitmaps tell of nothing smaller, unless they are told to: bytes. */
export const granuleBytes = 65_536;

/** What a bitmap says after these writes: whole granules, joined, up to the end of the disk. */
export function granulesOf(writes: readonly Range[], sizeBytes: number): Range[] {
  const joined: Array<{ offset: number; length: number }> = [];
  for (const { offset, length } of [...writes].sort((one, other) => one.offset - other.offset)) {
    const from = Math.floor(offset / granuleBytes) * granuleBytes;
    const to = Math.min(Math.ceil((offset + length) / granuleBytes) * granuleBytes, sizeBytes);
    const last = joined.at(-1);
    if (last && last.offset + last.length >= from) last.length = Math.max(last.length, to - last.offset);
    else joined.push({ offset: from, length: to - from });
  }
  return joined;
}

/** The sha256 that the guest computes of a disk of its own, past what it has cached. */
export async function guestSha256(machine: Machine, disk: string): Promise<string> {
  const command = `sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum ${devicePath(disk)}`;
  return (await machine.output(command)).slice(0, 64);
}

/** What a provider keeps of a guest: a copy of each disk, brought forward from snapshot to snapshot. */
export class KeptCopies {
  constructor(
    private readonly guest: MountedGuest,
    private readonly folder: string,
  ) {}

  /** The copy's path. */
  path(disk: string): string {
    return join(this.folder, `${disk}.copy`);
  }

  /** Copies whole disks. */
  async whole(name: string, ...disks: string[]): Promise<void> {
    for (const disk of disks)
      await output('cp', '--sparse=auto', this.guest.path(name, 'disks', `${disk}.raw`), this.path(disk));
  }

  /** Copies what has changed, and nothing else, out of `changes/`. */
  async increment(name: string, ...disks: string[]): Promise<void> {
    for (const disk of disks) {
      const changed = await open(this.guest.path(name, 'changes', `${disk}.changed`), 'r');
      const copy = await open(this.path(disk), 'r+');
      try {
        await truncate(this.path(disk), (await changed.stat()).size);
        for (const { offset, length } of await this.guest.dirty(name, disk)) {
          const buffer = Buffer.alloc(length);
          const { bytesRead } = await changed.read(buffer, 0, length, offset);
          if (bytesRead !== length) throw new Error(`${disk}.changed ends at ${offset + bytesRead}`);
          await copy.write(buffer, 0, length, offset);
        }
      } finally {
        await changed.close();
        await copy.close();
      }
    }
  }

  sha256(disk: string): Promise<string> {
    return sha256(this.path(disk));
  }
}

/** The text of `<disk>.dirty.json`, read as `nbdinfo --map --json` prints it. */
export async function mapRows(
  guest: MountedGuest,
  name: string,
  disk: string,
): Promise<Array<Range & { readonly type: number; readonly description: string }>> {
  return JSON.parse(await readFile(guest.path(name, 'disks', `${disk}.dirty.json`), 'utf8'));
}

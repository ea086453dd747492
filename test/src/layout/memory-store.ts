import type { Disk } from '../../../src/disks/disk.js';
import { StillError } from '../../../src/errors.js';
import type { Extent } from '../../../src/extents.js';
import { type Name, nameFromText } from '../../../src/name.js';
import type {
  Backup,
  BackupMarks,
  BackupReference,
  BackupStore,
  StoredDisk,
} from '../../../src/stores/store.js';
import { epoch, type Time } from '../../../src/time.js';

/** A disk whose bytes are 0xAA where it holds data, and which counts. */
export class MemoryDisk implements Disk {
  readonly size: number;
  readonly map: readonly Extent[];
  closed = false;
  walked = 0;

  constructor(ranges: ReadonlyArray<{ length: number; zero: boolean; dirty: boolean }>) {
    let offset = 0;
    this.map = ranges.map((range) => {
      const extent = { ...range, offset };
      offset += range.length;
      return extent;
    });
    this.size = offset;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (this.closed) throw new StillError('EBADF', 'read of a closed disk');
    if (offset + target.length > this.size) throw new StillError('EINVAL', 'a read that leaves the disk');
    for (const extent of await this.extents(offset, target.length)) {
      target.fill(extent.zero ? 0 : 0xaa, extent.offset - offset, extent.offset + extent.length - offset);
    }
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    if (this.closed) throw new StillError('EBADF', 'map of a closed disk');
    this.walked++;
    const end = offset + length;
    return this.map.flatMap((extent) => {
      const from = Math.max(extent.offset, offset);
      const to = Math.min(extent.offset + extent.length, end);
      return to > from ? [{ ...extent, offset: from, length: to - from }] : [];
    });
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

interface MemoryBackup {
  readonly reference: BackupReference;
  readonly disks: readonly StoredDisk[];
  readonly problems: readonly string[];
  readonly rootfs?: Backup['rootfs'];
}

/** A store in memory that counts what is asked of it. */
export class MemoryStore implements BackupStore {
  readonly guestsOf = new Map<Name, MemoryBackup[]>();
  opened = 0;
  version = 'one';
  #listed = new Map<Name, readonly BackupReference[]>();
  readonly #listeners = new Set<(guest?: Name) => void>();

  constructor(readonly name: string) {}

  add(guest: string, folder: string, seconds: number, contents: Partial<MemoryBackup> = {}): void {
    const name = nameFromText(guest);
    const kind = folder.startsWith('qemu') ? 'qemu' : folder.startsWith('lxc') ? 'lxc' : undefined;
    const time = { seconds, nanoseconds: 0 };
    const reference = { time, folder: nameFromText(folder), kind } as const;
    const backups = this.guestsOf.get(name) ?? [];
    backups.push({ disks: [], problems: [], ...contents, reference });
    this.guestsOf.set(name, backups);
    this.#listed.delete(name);
  }

  remove(guest: string, folder: string): void {
    const name = nameFromText(guest);
    const left = this.guestsOf.get(name)?.filter(({ reference }) => reference.folder !== folder) ?? [];
    this.guestsOf.set(name, left);
    this.#listed.delete(name);
  }

  tell(guest?: string): void {
    for (const listener of this.#listeners) listener(guest === undefined ? undefined : nameFromText(guest));
  }

  async guests(): Promise<readonly Name[]> {
    return [...this.guestsOf.keys()];
  }

  async backups(guest: Name): Promise<readonly BackupReference[]> {
    const listed = this.#listed.get(guest) ?? this.#backupsOf(guest).map(({ reference }) => reference);
    this.#listed.set(guest, listed);
    return listed;
  }

  async marks(): Promise<BackupMarks> {
    return { isProtected: false, note: undefined };
  }

  async modified(guest: Name | undefined): Promise<Time> {
    if (guest !== undefined) this.#backupsOf(guest);
    return epoch;
  }

  async open(guest: Name, reference: BackupReference): Promise<Backup> {
    this.opened++;
    const found = this.#backupsOf(guest).find((backup) => backup.reference.folder === reference.folder);
    if (!found) throw new StillError('ENOENT', 'the backup went away');
    const { disks, problems, rootfs } = found;
    return { reference, version: this.version, files: [], disks, problems, ...(rootfs && { rootfs }) };
  }

  watch(listener: (guest?: Name) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }

  #backupsOf(guest: Name): MemoryBackup[] {
    const backups = this.guestsOf.get(guest);
    if (backups) return backups;
    throw new StillError('ENOENT', 'no such guest');
  }
}

/** A stored disk that opens as the given one, and counts how often it was opened. */
export function storedDisk(
  name: string,
  open: (signal: AbortSignal) => Promise<Disk>,
): StoredDisk & { opens: number } {
  const disk = {
    name: nameFromText(name),
    opens: 0,
    open(signal: AbortSignal): Promise<Disk> {
      disk.opens++;
      return open(signal);
    },
  };
  return disk;
}

import type { DiskSurvey } from '../disks/dirty-map/survey.js';
import type { Disk } from '../disks/disk.js';
import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { StoredDisk } from '../stores/store.js';
import type { BackupNode } from './backup-node.js';
import type { LayoutContext } from './context.js';
import { fileAttributes } from './context.js';
import type { Loan } from './lending.js';
import type { FileNode, FolderNode, NodeAttributes, OpenFile } from './node.js';
import type { OpenedBackup } from './opened-backups.js';

/** A file that shows a disk of a backup in one way or another. */
export abstract class DiskNode implements FileNode {
  readonly type = 'file';
  readonly #backup: BackupNode;
  readonly #disk: Name;

  constructor(
    protected readonly context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    backup: BackupNode,
    disk: Name,
  ) {
    this.#backup = backup;
    this.#disk = disk;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    const sizes = this.sizes(await this.survey(signal));
    return fileAttributes(this.context, {
      ...sizes,
      modified: this.#backup.reference.time,
      freshSeconds: Infinity,
    });
  }

  abstract open(signal: AbortSignal): Promise<OpenFile>;

  /** The size of the file and what it takes up, in bytes. */
  protected abstract sizes(survey: DiskSurvey): { readonly size: number; readonly allocated: number };

  protected async survey(signal: AbortSignal): Promise<DiskSurvey> {
    const { opened, disk } = await this.#found(signal);
    return this.context.disks.survey(this.#backup.path, opened, disk, signal);
  }

  protected async borrow(signal: AbortSignal): Promise<Loan<Disk> & { readonly key: string }> {
    const { opened, disk } = await this.#found(signal);
    const loan = await this.context.disks.borrow(this.#backup.path, opened, disk, signal);
    return { ...loan, key: `${opened.key}\0${disk.name}` };
  }

  async #found(signal: AbortSignal): Promise<{ opened: OpenedBackup; disk: StoredDisk }> {
    const opened = await this.#backup.opened(signal);
    const disk = opened.disks.get(this.#disk);
    if (disk) return { opened, disk };
    throw new StillError(
      'ESTALE',
      `the disk ${nameToText(this.#disk)} has left ${nameToText(this.#backup.path)}`,
    );
  }
}

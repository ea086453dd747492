import type { DiskSurvey } from '../disks/dirty-map/survey.js';
import type { Disk } from '../disks/disk.js';
import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { LayoutContext } from './context.js';
import { fileAttributes } from './context.js';
import type { Loan } from './lending.js';
import type { FileNode, FolderNode, NodeAttributes, OpenFile } from './node.js';
import { keyOf } from './opened-disks.js';
import type { Still, StillDisk } from './still.js';
import type { StillNode } from './still-node.js';

/** A disk that is lent, and where it comes from. */
export interface DiskLoan extends Loan<Disk> {
  readonly still: Still;
  readonly disk: StillDisk;
  readonly key: string;
}

/** A file that shows a disk of a backup or a snapshot in one way or another. */
export abstract class DiskNode implements FileNode {
  readonly type = 'file';
  readonly #disk: Name;

  constructor(
    protected readonly context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    protected readonly owner: StillNode,
    disk: Name,
  ) {
    this.#disk = disk;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    const sizes = this.sizes(await this.survey(signal));
    return fileAttributes(this.context, { ...sizes, modified: this.owner.time, freshSeconds: Infinity });
  }

  abstract open(signal: AbortSignal): Promise<OpenFile>;

  /** What the kernel may cache: nothing of a snapshot, which ends while it is looked at. */
  protected get cache(): 'keep' | 'direct' {
    return this.owner.live ? 'direct' : 'keep';
  }

  /** The size of the file and what it takes up, in bytes. */
  protected abstract sizes(survey: DiskSurvey): { readonly size: number; readonly allocated: number };

  protected async survey(signal: AbortSignal, wanted?: { readonly allocated: true }): Promise<DiskSurvey> {
    const { still, disk } = await this.#found(signal);
    return this.context.disks.survey(still, disk, signal, wanted);
  }

  protected async borrow(signal: AbortSignal): Promise<DiskLoan> {
    const { still, disk } = await this.#found(signal);
    const loan = await this.context.disks.borrow(still, disk, signal);
    if (still.ended) {
      // It ended while its disk was being opened.
      loan.release();
      this.context.disks.drop(still);
      throw new StillError('EIO', `the snapshot of ${nameToText(this.path)} has ended`);
    }
    return { ...loan, still, disk, key: keyOf(still, disk) };
  }

  async #found(signal: AbortSignal): Promise<{ still: Still; disk: StillDisk }> {
    const still = await this.owner.still(signal);
    const disk = still.disks.get(this.#disk);
    if (disk) return { still, disk };
    throw new StillError('ESTALE', `the disk ${nameToText(this.#disk)} has left ${nameToText(still.path)}`);
  }
}

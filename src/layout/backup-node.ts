import type { BackupReference } from '../stores/store.js';
import type { FolderNode } from './node.js';
import type { OpenedBackup } from './opened-backups.js';

/** The folder of a backup, as far as what is shown in it needs to know. */
export interface BackupNode extends FolderNode {
  readonly reference: BackupReference;
  /** The backup, looked at lately. */
  opened(signal: AbortSignal): Promise<OpenedBackup>;
}

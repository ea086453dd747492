import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServedMount } from './served-mount.js';

export { output, sha256 } from './served-mount.js';

/** A temporary folder with a store in it and, while it is mounted, a stillfs process that shows it. */
export class MountedStore extends ServedMount {
  readonly store: string;

  private constructor(folder: string) {
    super(folder);
    this.store = join(folder, 'store');
  }

  static async make(): Promise<MountedStore> {
    const made = new MountedStore(await mkdtemp(join(tmpdir(), 'stillfs-e2e-')));
    await mkdir(made.store);
    await mkdir(made.mountpoint);
    return made;
  }

  /** Mounts, and resolves when the command says that it has. */
  mount(...options: string[]): Promise<void> {
    return this.serve([...options, '--store', `store=${this.store}`]);
  }

  /** A path in the mount. */
  path(...parts: string[]): string {
    return join(this.mountpoint, 'backups', 'store', ...parts);
  }
}

import type { Name } from '../../name.js';
import type { Bandwidth } from '../job/bandwidth.js';
import type { Narration } from '../job/narration.js';

/** The forms in which a container is stored. */
export const containerForms = ['tar.zst', 'tar', 'squashfs', 'folder'] as const;
export type ContainerForm = (typeof containerForms)[number];

/** The file, or folder, that each form becomes in a backup. */
export const fileOfForm: Readonly<Record<ContainerForm, string>> = {
  'tar.zst': 'archive.tar.zst',
  tar: 'archive.tar',
  squashfs: 'archive.sqfs',
  folder: 'rootfs',
};

/** A container's files that are being packed. */
export interface Packing {
  /** The root of the container's files. */
  readonly root: string;
  /** They may change meanwhile. */
  readonly live: boolean;
  /** Paths relative to the root that are left out, with all that is below them. */
  readonly excluded: AsyncIterable<Name>;
  /** A path that is not there yet; what becomes of it is for its owner alone. */
  readonly target: string;
  /** A private folder for what is passed to programs. */
  readonly scratch: string;
  readonly bandwidth: Bandwidth;
  readonly log: Narration;
  /** Told how many bytes there are by now. */
  readonly progress: (bytes: number) => void;
}

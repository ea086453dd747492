import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { openSquashfs } from '../../../../src/archives/squashfs/squashfs.js';
import type { Disk } from '../../../../src/disks/disk.js';
import { openRawImage } from '../../../../src/disks/raw/raw-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import { nameFromText } from '../../../../src/name.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { unhurried } from '../host-folder/walk.js';

const run = promisify(execFile);

/** Makes an image of a folder. */
export async function makeSquashfs(folder: string, image: string, ...options: string[]): Promise<void> {
  await run('mksquashfs', [
    folder,
    image,
    '-noappend',
    '-quiet',
    '-no-progress',
    '-processors',
    '1',
    ...options,
  ]);
}

/** An image that is read, and what was found wrong with it so far. */
export interface ReadImage {
  readonly tree: Tree;
  readonly problems: readonly string[];
}

export async function readSquashfs(image: Disk): Promise<ReadImage> {
  const problems: string[] = [];
  const problem = (sentence: string): void => {
    problems.push(sentence);
  };
  return { tree: await openSquashfs(image, { signal: unhurried, problem }), problems };
}

/** An image that is open, and what has to be closed after it. */
export interface OpenedImage extends ReadImage {
  close(): Promise<void>;
}

export async function openImage(path: string): Promise<OpenedImage> {
  const store = await StoreFolder.open(dirname(path));
  try {
    const disk = await openRawImage(store, nameFromText(basename(path)), unhurried);
    try {
      const opened = await readSquashfs(disk);
      return {
        ...opened,
        async close() {
          await opened.tree.close();
          store.close();
        },
      };
    } catch (error) {
      await disk.close();
      throw error;
    }
  } catch (error) {
    store.close();
    throw error;
  }
}

/** Has Linux itself mount an image while `look` looks at it. */
export async function mountedByKernel<T>(image: string, look: (folder: string) => Promise<T>): Promise<T> {
  // A loop device has whole sectors only.
  execFileSync('truncate', ['--size=%4096', image]);
  const folder = mkdtempSync(join(dirname(image), 'by-kernel-'));
  execFileSync('mount', ['-t', 'squashfs', '-o', 'ro,loop,nodev,nosuid', image, folder]);
  try {
    return await look(folder);
  } finally {
    execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true });
  }
}

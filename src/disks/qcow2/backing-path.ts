import { readlinkSync } from 'node:fs';
import { StillError } from '../../errors.js';
import { type Name, nameFromBytes, nameFromText, nameToText } from '../../name.js';
import type { StoreFolder } from '../store-folder.js';
import type { BackingReference } from './header.js';

/** How an image of a chain is opened. */
export interface ImageReference {
  /** Beneath the store's folder. */
  readonly path: Name;
  readonly format: 'raw' | 'qcow2';
}

/**
 * Where an image's backing file lies in its store, by our rules, which are narrower than QEMU's: a plain path, relative
 * to the image's own folder, or absolute where it begins with the store's folder; and its format said. The path may
 * still lead nowhere: whoever opens it does so beneath the store's folder.
 *
 * Errors: EACCES for what is never followed, EINVAL for a missing or another format.
 */
export function backingImage(folder: StoreFolder, image: Name, backing: BackingReference): ImageReference {
  const of = `the backing file of ${folder.path}/${nameToText(image)}`;
  const shown = JSON.stringify(nameToText(backing.name));
  if (/^[^/]*:/.test(backing.name))
    throw new StillError(
      'EACCES',
      `${of} is ${shown}: a protocol, not a path (a name with a colon begins with "./"), and never followed`,
    );
  if (backing.name.includes('\0')) throw new StillError('EACCES', `${of} is ${shown}: not a path`);
  if (backing.format === undefined)
    throw new StillError(
      'EINVAL',
      `${of}, ${shown}, has no format said, and guessing it is unsafe; say it: qemu-img rebase -u -b FILE -F raw|qcow2`,
    );
  if (backing.format !== 'raw' && backing.format !== 'qcow2')
    throw new StillError(
      'EINVAL',
      `${of}, ${shown}, is of format "${backing.format}"; only raw and qcow2 are read`,
    );
  return { path: pathInStore(folder, image, backing.name, of), format: backing.format };
}

function pathInStore(folder: StoreFolder, image: Name, name: Name, of: string): Name {
  if (!name.startsWith('/')) return `${image.slice(0, image.lastIndexOf('/') + 1)}${name}` as Name;
  for (const root of [nameFromText(folder.path), realPath(folder.descriptor)]) {
    const prefix = root.endsWith('/') ? root : `${root}/`;
    if (prefix.startsWith('/') && name.startsWith(prefix))
      return name.slice(prefix.length).replace(/^\/+/, '') as Name;
  }
  throw new StillError(
    'EACCES',
    `${of} is ${JSON.stringify(nameToText(name))}, outside of the store ${folder.path}; ` +
      'if the store was moved, say where it is now: qemu-img rebase -u -b RELATIVE_PATH -F FORMAT',
  );
}

/** The kernel's own name of an open folder. It knows it without asking the file system. */
function realPath(descriptor: number): Name {
  return nameFromBytes(readlinkSync(`/proc/self/fd/${descriptor}`, { encoding: 'buffer' }));
}

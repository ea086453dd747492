/**
 * Mounts the file system of a raw image, read by us, until its parent lets go of it:
 *   serve-image.js KIND IMAGE MOUNTPOINT
 * The parent (`fork`) is told when the mount answers, and each sentence about what is wrong with the file system.
 */
import { basename, dirname } from 'node:path';
import { mountOverKernel } from '../../mount/kernel/mount.js';
import { openRawImage } from '../../src/disks/raw/raw-image.js';
import { StoreFolder } from '../../src/disks/store-folder.js';
import { messageOf } from '../../src/errors.js';
import { FileSystemTree } from '../../src/filesystems/file-system-tree.js';
import { openLog } from '../../src/log.js';
import { nameFromText } from '../../src/name.js';
import { Problems } from '../../src/problems.js';
import { fileSystemKinds, type TestedKind } from './kinds.js';

/** What the parent is told. */
export type Said =
  | { readonly event: 'mounted' }
  | { readonly event: 'problem'; readonly sentence: string }
  | { readonly event: 'failed'; readonly message: string };

const [kind = '', image = '', mountpoint = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const say = (said: Said): void => {
  process.send?.(said);
};

try {
  const problems = new Problems((sentence) => say({ event: 'problem', sentence }));
  const problem = (sentence: string): void => problems.add(sentence);
  const store = await StoreFolder.open(dirname(image));
  const disk = await openRawImage(store, nameFromText(basename(image)), signal);
  // Our own writing: the parent passes nothing else.
  const fileSystem = await fileSystemKinds[kind as TestedKind](disk, { signal, problem });
  const tree = new FileSystemTree(fileSystem, problems);
  const mounted = await mountOverKernel(tree, {
    mountpoint,
    source: kind,
    allowOther: true,
    readOnly: true,
    log: openLog('info'),
  });
  process.once('disconnect', () => {
    void mounted.unmount({ force: true }).catch(() => process.exit(1));
  });
  say({ event: 'mounted' });
  await mounted.ended;
  await tree.close();
  store.close();
  process.removeAllListeners('disconnect');
} catch (error) {
  say({ event: 'failed', message: messageOf(error) });
} finally {
  process.disconnect?.();
}

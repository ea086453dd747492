import { StillError } from '../../../src/errors.js';
import { isShownName } from '../../../src/name.js';
import { foundAt } from '../../forest/forest.js';
import type { Rows } from '../native-operations.js';
import type { PathMount } from '../path-mount.js';
import { rowWords } from '../stat-words.js';
import { utf8NameText } from '../utf8-name.js';

/** libfuse takes a listing whole. Beyond this, its memory is no longer worth it. */
const longestListing = 1_000_000;

/** All of a folder, but what can't be passed on. */
export async function listFolder(mount: PathMount, path: string, signal: AbortSignal): Promise<Rows> {
  const rows: Rows = { names: ['.', '..'], words: [rowWords('directory'), rowWords('directory')] };
  let leftOut = 0;
  await mount.paths.use(path, signal, async ({ planted, inode }) => {
    for (let after = 0n; ; ) {
      const entries = await planted.tree.list(inode, after, signal);
      signal.throwIfAborted();
      if (entries.length === 0) return;
      for (const { name, type, cookie } of entries) {
        after = cookie;
        if (!isShownName(name)) continue;
        const text = utf8NameText(name);
        if (text === undefined) {
          leftOut++;
          continue;
        }
        rows.names.push(text);
        rows.words.push(rowWords(type));
      }
      if (rows.names.length + leftOut > longestListing) {
        throw new StillError(
          'EOVERFLOW',
          `${path} has more than ${longestListing} entries: this transport lists a folder whole, the kernel transport does not`,
        );
      }
    }
  });
  if (leftOut > 0) {
    mount.complaints.once(
      `${path} lists ${leftOut} ${leftOut === 1 ? 'entry' : 'entries'} fewer than there are: names that are not UTF-8 can't be shown by this transport`,
    );
  }
  return rows;
}

export function makeFolder(mount: PathMount, path: string, mode: number, signal: AbortSignal): Promise<void> {
  const { forest, paths } = mount;
  return paths.useParent(path, signal, async (folder, name) => {
    const { planted } = folder;
    if (mount.readOnly || !planted.tree.mkdir) throw new StillError('EROFS', `${path} can't be made`);
    try {
      const { attributes } = await planted.tree.mkdir(folder.inode, name, mode & 0o7777, signal);
      // libfuse looks the folder up by itself: the tree is told that the inode that it gave is not kept.
      const number = forest.numberOf(planted, attributes.inode);
      forest.remember({ number, planted, inode: attributes.inode }, foundAt(folder, name, attributes));
      forest.forget(number, 1);
    } finally {
      paths.changed(folder, name);
    }
  });
}

export function removeFolder(mount: PathMount, path: string, signal: AbortSignal): Promise<void> {
  const { paths } = mount;
  return paths.useParent(path, signal, async (folder, name) => {
    const { tree } = folder.planted;
    if (mount.readOnly || !tree.rmdir) throw new StillError('EROFS', `${path} can't be removed`);
    try {
      await tree.rmdir(folder.inode, name, signal);
    } finally {
      paths.changed(folder, name);
    }
  });
}

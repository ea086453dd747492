import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type KernelMounted, mountOverKernel } from '../../../mount/kernel/mount.js';
import { silent } from '../../../src/log.js';
import { type Name, nameFromText } from '../../../src/name.js';
import { getXattr, listXattrs } from '../../../src/posix/xattr.js';
import type { Inode } from '../../../src/tree/attributes.js';
import { MemoryTree } from '../../conformance/memory-tree.js';

/** A tree that tells what it was asked about. */
class Asked extends MemoryTree {
  readonly asked = new Set<Inode>();

  override xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    this.asked.add(inode);
    return super.xattr(inode, name, signal);
  }

  override xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    this.asked.add(inode);
    return super.xattrs(inode, signal);
  }
}

describe('files without extended attributes', () => {
  const tree = new Asked();
  tree.link(tree.root, 'bare', tree.addFile('', { bare: true }));
  const passing = tree.link(tree.root, 'bare-for-now', tree.addFile('', { bare: true, freshSeconds: 1 }));
  const dressed = tree.link(tree.root, 'dressed', tree.addFile(''));
  tree.node(dressed).xattrs.set(nameFromText('user.a'), Buffer.from('value'));
  let mountpoint: string;
  let mounted: KernelMounted;

  beforeAll(async () => {
    mountpoint = await mkdtemp(join(tmpdir(), 'stillfs-bare-'));
    const options = { source: 'bare', allowOther: false, readOnly: true, log: silent };
    mounted = await mountOverKernel(tree, { mountpoint, ...options });
  });
  afterAll(async () => {
    await mounted?.unmount();
    await mounted?.ended;
    await rm(mountpoint, { recursive: true });
  });

  async function xattrsOf(file: string): Promise<readonly string[]> {
    const opened = await open(join(mountpoint, file));
    try {
      const names = await listXattrs(opened.fd);
      for (const name of [...names, nameFromText('user.none')])
        await getXattr(opened.fd, name).catch((error: unknown) =>
          expect(error).toMatchObject({ code: 'ENODATA' }),
        );
      return names;
    } finally {
      await opened.close();
    }
  }

  it.each(['looked up', 'listed'])('are not asked for any, whether they were %s', async (how) => {
    if (how === 'listed') await readdir(mountpoint);
    tree.asked.clear();
    expect(await xattrsOf('bare')).toEqual([]);
    expect(await xattrsOf('bare-for-now')).toEqual([]);
    expect(await xattrsOf('dressed')).toEqual(['user.a']);
    expect(tree.asked).toEqual(new Set([passing, dressed]));
  });
});

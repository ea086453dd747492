import { mkdtemp, open, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type KernelMounted, mountOverKernel } from '../../../mount/kernel/mount.js';
import { silent } from '../../../src/log.js';
import { MemoryTree } from '../../conformance/memory-tree.js';

const folders = 20;
const files = 100;
const mostKnownNodes = 400;

describe('a kernel that has found more files than may be known', () => {
  let mountpoint: string;
  let mounted: KernelMounted;

  beforeAll(async () => {
    mountpoint = await mkdtemp(join(tmpdir(), 'stillfs-pruning-'));
    const tree = new MemoryTree();
    for (let folder = 0; folder < folders; folder++) {
      const inode = tree.link(tree.root, `folder-${folder}`, tree.addFolder());
      for (let file = 0; file < files; file++) tree.link(inode, `${file}`, tree.addFile(`${folder} ${file}`));
    }
    const options = { source: 'pruning', allowOther: false, readOnly: true, log: silent, mostKnownNodes };
    mounted = await mountOverKernel(tree, { mountpoint, ...options });
  });
  afterAll(async () => {
    await mounted?.unmount();
    await mounted?.ended;
    await rm(mountpoint, { recursive: true });
  });

  it('is asked to forget them, but no folder, and no file that is open', async () => {
    const path = join(mountpoint, 'folder-0', '7');
    const opened = await open(path);
    // Not by `cwd`: Node stands still until a child is in its folder, and would not answer the kernel.
    const walk = 'cd "$1" && find .. -type f -exec cat {} + | wc -c && pwd -P';
    const { stdout } = await execa('sh', ['-c', walk, 'sh', join(mountpoint, 'folder-1')]);
    const bytes = Array.from({ length: folders * files }, (_, each) => {
      return `${Math.floor(each / files)} ${each % files}`.length;
    }).reduce((sum, length) => sum + length, 0);
    expect(stdout.split('\n').map((line) => line.trim())).toEqual([`${bytes}`, join(mountpoint, 'folder-1')]);
    await expect.poll(() => mounted.counts().nodes).toBeLessThanOrEqual(mostKnownNodes);
    // The kernel calls a file whose name it let go of "(deleted)".
    expect(await readlink(`/proc/self/fd/${opened.fd}`)).toBe(path);
    expect(await opened.readFile('utf8')).toBe('0 7');
    await opened.close();
  });

  it('finds them all again', async () => {
    const { stdout } = await execa('find', [mountpoint, '-type', 'f', '-size', '1']);
    expect(stdout.split('\n')).toHaveLength(folders * files);
    await expect.poll(() => mounted.counts().nodes).toBeLessThanOrEqual(mostKnownNodes);
  });
});

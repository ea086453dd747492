import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
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
const contentOf = (folder: number, file: number): string => `${folder} ${file}`;
const allBytes = Array.from({ length: folders * files }, (_, each) => {
  return contentOf(Math.floor(each / files), each % files).length;
}).reduce((sum, length) => sum + length, 0);

describe('a kernel that has found more files than may be known', () => {
  let mountpoint: string;
  let mounted: KernelMounted;

  beforeAll(async () => {
    mountpoint = await mkdtemp(join(tmpdir(), 'stillfs-pruning-'));
    const tree = new MemoryTree();
    tree.link(tree.root, 'mounted-upon', tree.addFolder());
    for (let folder = 0; folder < folders; folder++) {
      const inode = tree.link(tree.root, `folder-${folder}`, tree.addFolder());
      for (let file = 0; file < files; file++)
        tree.link(inode, `${file}`, tree.addFile(contentOf(folder, file)));
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
    const script = [
      'exec 3<"$1/folder-0/7"; cd "$1/folder-1"; mount -t tmpfs pruning ../mounted-upon',
      'find .. -type f -exec cat {} + | wc -c; read -r line',
      // The kernel calls a file whose name it let go of "(deleted)".
      'pwd -P; readlink "/proc/$$/fd/3"; cat <&3; umount ../mounted-upon',
    ];
    const child = execa('sh', ['-ec', script.join('\n'), 'sh', mountpoint]);
    const [walked] = await once(child.stdout, 'data');
    expect(Number(walked)).toBe(allBytes);
    await expect.poll(() => mounted.counts().nodes).toBeLessThanOrEqual(mostKnownNodes);
    child.stdin.end('\n');
    const { stdout } = await child;
    expect(stdout.split('\n').slice(1)).toEqual([
      join(mountpoint, 'folder-1'),
      join(mountpoint, 'folder-0', '7'),
      '0 7',
    ]);
  });

  it('finds them all again', async () => {
    const { stdout } = await execa('find', [mountpoint, '-type', 'f', '-size', '1']);
    expect(stdout.split('\n')).toHaveLength(folders * files);
    await expect.poll(() => mounted.counts().nodes).toBeLessThanOrEqual(mostKnownNodes);
  });
});

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { alternate, type Contender, seconds } from './measure.js';
import { peakMemory, stillfs } from './mounts.js';
import type { Row } from './report.js';

/** `find` and `tar` of a container folder of so many small files, against the plain folder. */
export async function folderReads(folder: string, files: number, rounds: number): Promise<Row[]> {
  const rootfs = join(folder, 'folders', '200', 'lxc-1700000000', 'rootfs');
  for (let made = 0; made < files; ) {
    const part = join(rootfs, `part-${made}`);
    await mkdir(part, { recursive: true });
    const names = Array.from({ length: Math.min(250, files - made) }, (_, place) => `file-${made + place}`);
    await Promise.all(
      names.map((name, place) =>
        writeFile(join(part, name), Buffer.alloc(100 + ((made + place * 37) % 9000), place)),
      ),
    );
    made += names.length;
  }
  const own = await stillfs(join(folder, 'folders'), join(folder, 'folder-mount'));
  const shown = join(own.path, 'backups/store/200/20231114T221320Z/rootfs');
  const both = (run: (path: string) => Promise<unknown>): Contender[] => [
    { name: 'stillfs', run: () => seconds(() => run(shown)) },
    { name: 'the plain folder', run: () => seconds(() => run(rootfs)) },
  ];
  const fresh = async (): Promise<void> => {
    await execa('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches']);
  };
  const find = (path: string): Promise<unknown> =>
    execa('find', [path, '-printf', '%s\\n'], { stdout: 'ignore' });
  const tar = (path: string): Promise<unknown> =>
    execa('sh', ['-c', 'tar --acls --xattrs --sparse -C "$1" -cf - . | cat > /dev/null', 'sh', path]);
  const cold = (run: (path: string) => Promise<unknown>): Contender[] =>
    both(run).map((contender) => ({
      ...contender,
      run: async () => {
        await fresh();
        return contender.run();
      },
    }));
  try {
    return [
      await row(`find -printf %s, ${files} files, first`, cold(find), rounds),
      await row(`find -printf %s, ${files} files, again`, both(find), rounds),
      await row(`tar --acls --xattrs --sparse, ${files} files, again`, both(tar), rounds),
      await memory(own.pid),
    ];
  } finally {
    await own.stop();
  }
}

async function row(title: string, all: readonly Contender[], rounds: number): Promise<Row> {
  return { title, unit: 's', higherIsBetter: false, measured: await alternate(all, rounds) };
}

async function memory(pid: number): Promise<Row> {
  const peak = await peakMemory(pid);
  return {
    title: 'folder, peak memory',
    unit: 'MiB',
    higherIsBetter: false,
    measured: [{ name: 'stillfs', median: peak, all: [peak] }],
  };
}

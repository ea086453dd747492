import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openExt } from '../../../../src/filesystems/ext/ext.js';
import { FileSystemTree } from '../../../../src/filesystems/file-system-tree.js';
import { Problems } from '../../../../src/problems.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { unhurried } from '../../archives/host-folder/walk.js';
import { BytesDisk } from '../../archives/squashfs/bytes-disk.js';

/** An image that mke2fs(8) has filled, and debugfs(8) to say where in it something is. */
export class ExtImage {
  readonly #folder = mkdtempSync(join(tmpdir(), 'stillfs-ext-'));
  readonly #file = join(this.#folder, 'image');

  /** `fill` makes what it is to hold, in a folder; `commands` are debugfs's, before folders get their indexes. */
  constructor(
    mebibytes: number,
    options: readonly string[],
    fill: (folder: string) => void = () => undefined,
    commands: readonly string[] = [],
  ) {
    const tree = mkdtempSync(join(this.#folder, 'tree-'));
    fill(tree);
    writeFileSync(this.#file, '');
    truncateSync(this.#file, mebibytes << 20);
    execFileSync('mke2fs', ['-q', '-F', ...options, '-d', tree, this.#file], { stdio: 'pipe' });
    if (commands.length > 0) this.debugfs(...commands);
    // mke2fs makes no indexes. 1: e2fsck has changed something.
    const { status, stderr } = spawnSync('e2fsck', ['-f', '-y', '-D', this.#file], { encoding: 'latin1' });
    if (status === null || status > 1) throw new Error(`e2fsck: ${stderr}`);
  }

  /** What debugfs prints, for one command after the other. */
  debugfs(...commands: readonly string[]): string {
    const script = join(this.#folder, 'commands');
    writeFileSync(script, commands.map((command) => `${command}\n`).join(''));
    return execFileSync('debugfs', ['-w', '-f', script, this.#file], { encoding: 'latin1', stdio: 'pipe' });
  }

  get bytes(): Buffer {
    return readFileSync(this.#file);
  }

  blockBytes(bytes = this.bytes): number {
    return 1024 << bytes.readUInt32LE(1024 + 0x18);
  }

  inodeNumber(path: string): number {
    return Number(/Inode: (\d+)/.exec(this.debugfs(`stat ${path}`))?.[1]);
  }

  /** Where the inode of a file is, in bytes. */
  inode(path: string): number {
    const [, block, offset] =
      /located at block (\d+), offset 0x([0-9a-f]+)/.exec(this.debugfs(`imap ${path}`)) ?? [];
    return Number(block) * this.blockBytes() + Number.parseInt(offset ?? '', 16);
  }

  /** Where a block of a file is, in bytes. */
  block(path: string, index: number): number {
    return Number(this.debugfs(`bmap ${path} ${index}`).split('\n')[1]) * this.blockBytes();
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }
}

export interface OpenedExt {
  readonly tree: Tree;
  readonly problems: readonly string[];
}

/** Opens bytes as a file system. */
export async function openBytes(bytes: Buffer): Promise<OpenedExt> {
  const told: string[] = [];
  const problems = new Problems((sentence) => told.push(sentence));
  const fileSystem = await openExt(new BytesDisk(bytes), {
    signal: unhurried,
    problem: (sentence) => problems.add(sentence),
  });
  return { tree: new FileSystemTree(fileSystem, problems), problems: told };
}

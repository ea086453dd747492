import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const K = 1024;
const M = 1024 * K;

/** An image, made by QEMU's own tools. */
export interface Qcow2Recipe {
  readonly name: string;
  /** Bytes of the disk. */
  readonly size: number;
  /** True where the disk is too large to be read whole. */
  readonly thin?: boolean;
  /** Bytes of the image's parent, where it has one. */
  readonly parentSize?: number;
  /** True where QEMU finds clusters without data and looks into the file for holes: its map then knows of more zeros. */
  readonly preallocated?: boolean;
  /** Makes the image in a folder and says its path there. */
  make(folder: string): Promise<string>;
}

/** Runs `qemu-img` in a folder and gives what it wrote. */
export async function qemuImg(folder: string, ...words: string[]): Promise<string> {
  return (await run('qemu-img', words, { cwd: folder, maxBuffer: 256 * M })).stdout;
}

/** Runs commands of `qemu-io` on an image of a folder. */
export async function qemuIo(folder: string, image: string, ...commands: string[]): Promise<void> {
  const words = commands.flatMap((command) => ['-c', command]);
  const { stdout, stderr } = await run('qemu-io', ['-f', 'qcow2', ...words, image], { cwd: folder });
  if (/failed|error|invalid/i.test(stdout + stderr))
    throw new Error(`qemu-io on ${image}: ${stdout}${stderr}`);
}

/** Data, zeros and discarded ranges, small and large, aligned and not, within a disk. */
export function writes(size: number, seed: number): string[] {
  const random = numbers(seed);
  const commands: string[] = [];
  for (let i = 0; i < 24; i++) {
    const length = 512 * (1 + (random() % (i % 4 === 0 ? 600 : 40)));
    const offset = 512 * (random() % Math.floor((size - length) / 512));
    const pattern = 1 + (random() % 250);
    if (i % 6 === 4) commands.push(`write -z ${offset} ${length}`);
    else if (i % 6 === 5) commands.push(`discard ${offset} ${length}`);
    else if (i % 12 === 3) commands.push(`write -z -u ${offset} ${length}`);
    else commands.push(`write -P ${pattern} ${offset} ${length}`);
  }
  return commands;
}

/** The same whole numbers, 0 to 2^32 - 1, for the same seed (mulberry32). */
export function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

const diskSize = 6 * M + 3 * 512;

interface Plain {
  readonly options: string;
  readonly size?: number;
  readonly backing?: string;
}

async function create(folder: string, path: string, { options, size, backing }: Plain): Promise<void> {
  await mkdir(join(folder, dirname(path)), { recursive: true });
  const base = backing === undefined ? [] : ['-b', backing, '-F', backing.endsWith('.raw') ? 'raw' : 'qcow2'];
  const words = [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-u',
    ...(options === '' ? [] : ['-o', options]),
    ...base,
    path,
  ];
  await qemuImg(folder, ...words, `${size ?? diskSize}`);
}

function written(options: string, seed: number): Qcow2Recipe {
  return {
    name: `written, ${options}`,
    size: diskSize,
    async make(folder) {
      await create(folder, 'disk.qcow2', { options });
      await qemuIo(folder, 'disk.qcow2', ...writes(diskSize, seed));
      return 'disk.qcow2';
    },
  };
}

function compressed(options: string, seed: number): Qcow2Recipe {
  return {
    name: `compressed, ${options}`,
    size: diskSize,
    async make(folder) {
      await create(folder, 'plain.qcow2', { options: 'compat=1.1' });
      // Text-like content, so that most clusters are worth compressing and none is trivial.
      const bytes = Buffer.alloc(M);
      const random = numbers(seed);
      for (let at = 0; at < bytes.length; at++) bytes[at] = 97 + (random() % (1 + (at >> 16)));
      await writeFile(join(folder, 'text'), bytes);
      await qemuIo(folder, 'plain.qcow2', ...writes(diskSize, seed), `write -s text ${M + 512} ${M}`);
      await qemuImg(
        folder,
        'convert',
        '-q',
        '-c',
        '-f',
        'qcow2',
        '-O',
        'qcow2',
        '-o',
        options,
        'plain.qcow2',
        'disk.qcow2',
      );
      // Some clusters are written anew, uncompressed, among those that are not.
      await qemuIo(folder, 'disk.qcow2', `write -P 7 ${2 * M - 1024} 3072`);
      return 'disk.qcow2';
    },
  };
}

function chain(length: number, options: string): Qcow2Recipe {
  return {
    name: `chain of ${length}, ${options}`,
    size: diskSize,
    parentSize: diskSize,
    async make(folder) {
      for (let i = 0; i < length; i++) {
        const path = `day-${i}/disk.qcow2`;
        await create(folder, path, {
          options,
          ...(i === 0 ? {} : { backing: `../day-${i - 1}/disk.qcow2` }),
        });
        const commands = writes(diskSize, 100 + i);
        await qemuIo(folder, path, ...(length > 10 ? commands.slice(0, 5) : commands));
      }
      return `day-${length - 1}/disk.qcow2`;
    },
  };
}

function sized(name: string, sizes: readonly [number, number, number], rawBase = false): Qcow2Recipe {
  return {
    name,
    size: sizes[2],
    parentSize: sizes[1],
    async make(folder) {
      if (rawBase) {
        await qemuImg(folder, 'create', '-q', '-f', 'raw', 'base.raw', `${sizes[0]}`);
        await run(
          'qemu-io',
          ['-f', 'raw', '-c', `write -P 9 65536 300000`, '-c', 'write -P 8 2M 512', 'base.raw'],
          {
            cwd: folder,
          },
        );
      } else {
        await create(folder, 'base.qcow2', { options: 'cluster_size=4096', size: sizes[0] });
        await qemuIo(folder, 'base.qcow2', ...writes(sizes[0], 1));
      }
      const backing = rawBase ? 'base.raw' : 'base.qcow2';
      await create(folder, 'middle.qcow2', { options: 'compat=1.1', size: sizes[1], backing });
      await qemuIo(folder, 'middle.qcow2', ...writes(sizes[1], 2).slice(0, 6));
      await create(folder, 'top.qcow2', {
        options: 'cluster_size=8192',
        size: sizes[2],
        backing: 'middle.qcow2',
      });
      await qemuIo(folder, 'top.qcow2', ...writes(sizes[2], 3).slice(0, 8));
      return 'top.qcow2';
    },
  };
}

function preallocated(how: string): Qcow2Recipe {
  return {
    name: `preallocation ${how}`,
    size: diskSize,
    preallocated: true,
    async make(folder) {
      await create(folder, 'disk.qcow2', { options: `preallocation=${how}` });
      await qemuIo(folder, 'disk.qcow2', ...writes(diskSize, 5).slice(0, 4));
      return 'disk.qcow2';
    },
  };
}

/** Every kind of qcow2 image that is read, in one list. */
export const qcow2Recipes: readonly Qcow2Recipe[] = [
  written('compat=0.10', 11),
  written('compat=1.1', 12),
  ...[512, 4096, 32768, 262144, 2 * M].map((size, i) => written(`cluster_size=${size}`, 20 + i)),
  written('compat=0.10,cluster_size=512', 30),
  ...[16 * K, 64 * K].map((size, i) => written(`extended_l2=on,cluster_size=${size}`, 40 + i)),
  { ...written(`extended_l2=on,cluster_size=${2 * M}`, 42), preallocated: true },
  ...[512, 4096, 65536, 2 * M].map((size, i) => compressed(`cluster_size=${size}`, 50 + i)),
  ...[4096, 65536, 2 * M].map((size, i) => compressed(`compression_type=zstd,cluster_size=${size}`, 60 + i)),
  compressed('extended_l2=on,cluster_size=65536', 70),
  chain(5, 'compat=1.1'),
  chain(5, 'compat=0.10,cluster_size=16384'),
  chain(5, 'extended_l2=on,cluster_size=65536'),
  chain(50, 'cluster_size=32768'),
  sized('shorter backing files', [2 * M, 3 * M + 512, 5 * M]),
  sized('a long base seen through a short image', [5 * M, 2 * M + 512, 4 * M]),
  sized('longer backing files', [5 * M, 4 * M, 3 * M]),
  sized('a sparse raw base', [4 * M, 5 * M, 5 * M], true),
  ...['metadata', 'falloc', 'full'].map(preallocated),
  {
    name: 'resized',
    size: 9 * M,
    async make(folder) {
      await create(folder, 'disk.qcow2', { options: '', size: 5 * M + 512 });
      await qemuIo(folder, 'disk.qcow2', ...writes(5 * M, 81), `write -P 3 ${5 * M} 512`);
      await qemuImg(folder, 'resize', '-q', '-f', 'qcow2', 'disk.qcow2', `${9 * M}`);
      await qemuIo(folder, 'disk.qcow2', `write -P 4 ${8 * M} 1M`);
      return 'disk.qcow2';
    },
  },
  {
    name: 'with internal snapshots and bitmaps',
    size: diskSize,
    async make(folder) {
      await create(folder, 'disk.qcow2', { options: '' });
      await qemuIo(folder, 'disk.qcow2', ...writes(diskSize, 91));
      await qemuImg(folder, 'snapshot', '-q', '-c', 'before', 'disk.qcow2');
      await qemuIo(folder, 'disk.qcow2', ...writes(diskSize, 92));
      await qemuImg(folder, 'bitmap', '--add', '-f', 'qcow2', 'disk.qcow2', 'stillfs:nightly:1');
      await qemuIo(folder, 'disk.qcow2', ...writes(diskSize, 93));
      return 'disk.qcow2';
    },
  },
  {
    name: '2 TiB, thin',
    size: 2 ** 41,
    thin: true,
    async make(folder) {
      await create(folder, 'disk.qcow2', { options: '', size: 2 ** 41 });
      await qemuIo(
        folder,
        'disk.qcow2',
        'write -P 1 0 64k',
        `write -P 2 ${2 ** 40 + 4096} 70000`,
        `write -P 3 ${2 ** 41 - 512} 512`,
        `write -z ${2 ** 39} 1G`,
      );
      return 'disk.qcow2';
    },
  },
];

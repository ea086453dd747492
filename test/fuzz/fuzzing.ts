import type { Disk } from '../../src/disks/disk.js';
import { StillError } from '../../src/errors.js';
import { FileSystemTree } from '../../src/filesystems/file-system-tree.js';
import { Problems } from '../../src/problems.js';
import type { Tree } from '../../src/tree/tree.js';
import { numbers } from '../corpus/qcow2-images.js';
import type { OpenFileSystem } from '../filesystems/kinds.js';
import { BytesDisk } from '../src/archives/squashfs/bytes-disk.js';
import { processorTime } from './processor-time.js';
import { TreeWalk } from './tree-walk.js';

/** Cases of one seed. */
export interface Fuzzing {
  /** An empty folder to work in. */
  readonly folder: string;
  readonly seed: number;
  readonly count: number;
}

export interface Fuzzed {
  /** How many images could still be opened, and walked and read without an error. */
  readonly opened: number;
  readonly readWhole: number;
  /** What must never happen, one sentence each, with what makes it happen again. */
  readonly findings: readonly string[];
}

/** An image that was damaged. */
export interface DamagedImage {
  /** Which one it is and what was done to it. */
  readonly told: string;
  readonly disk: { readonly closed: boolean };
  open(problem: (sentence: string) => void): Promise<Tree>;
}

export interface Limits {
  /** The processor's time, in milliseconds: a computation that takes this long was made to. */
  readonly milliseconds: number;
  /** The caches of the reader, the originals, what is under way. */
  readonly bufferBytes: number;
  /** No file's number may be as large. */
  readonly inode: bigint;
}

const mostProblems = 100;
const signal = new AbortController().signal;

/**
 * Damages images and walks what comes of each: every file must give bytes or an error that says why, in time, and leave nothing
 * behind.
 */
export async function fuzzImages(
  { seed, count }: Fuzzing,
  limits: Limits,
  damage: (random: () => number) => DamagedImage,
): Promise<Fuzzed> {
  const random = numbers(seed);
  const findings: string[] = [];
  let opened = 0;
  let readWhole = 0;
  for (let each = 0; each < count; each++) {
    const { told, disk, open } = damage(random);
    const found = (finding: string): void => {
      findings.push(`seed ${seed}, case ${each}: ${told}: ${finding}`);
    };
    const spent = processorTime();
    try {
      let problems = 0;
      const tree = await open(() => problems++);
      opened++;
      try {
        const walk = new TreeWalk(tree, limits.inode);
        await walk.run();
        if (walk.errors === 0) readWhole++;
        for (const finding of walk.findings) found(finding);
        if (problems > mostProblems) found(`${problems} problems`);
      } finally {
        await tree.close();
      }
      if (!disk.closed) found('the disk is still open');
    } catch (error) {
      if (!(error instanceof StillError)) found(`${error instanceof Error ? error.stack : error}`);
    }
    const milliseconds = spent();
    if (milliseconds > limits.milliseconds) found(`took ${Math.round(milliseconds)} ms`);
    const { arrayBuffers } = process.memoryUsage();
    if (arrayBuffers > limits.bufferBytes) found(`${arrayBuffers} bytes of buffers are held`);
  }
  return { opened, readWhole, findings };
}

/** One of several, drawn. */
export function drawn<T>(some: readonly T[], random: () => number): T {
  const one = some[random() % some.length];
  if (one === undefined) throw new Error('there is nothing to draw from');
  return one;
}

/** An image in memory, and what is worth damaging in it. */
export interface Original<Places> {
  readonly name: string;
  readonly bytes: Buffer;
  readonly places: Places;
}

/** Opens a damaged image; it tells of what is wrong with it. */
export type OpenImage = (disk: BytesDisk, problem: (sentence: string) => void) => Promise<Tree>;

/** How images of one kind are damaged and opened. */
export interface Damaging<Places, Image extends Original<Places>> {
  readonly originals: readonly Image[];
  /** What is damaged in one of them, at most. */
  readonly most: number;
  /** Of so many the end of one is missing. */
  readonly cutEach: number;
  /** Changes something and says what. */
  damage(bytes: Buffer, places: Places, random: () => number): string;
  /** What is done when all else is, before the end is cut off. */
  seal?(bytes: Buffer, original: Image, random: () => number): string | undefined;
  open(...given: [...Parameters<OpenImage>, Image]): Promise<Tree>;
}

/** `fuzzImages` of images that lie in memory as a whole. */
export function fuzzBytes<Places, Image extends Original<Places>>(
  fuzzing: Fuzzing,
  limits: Limits,
  how: Damaging<Places, Image>,
): Promise<Fuzzed> {
  return fuzzImages(fuzzing, limits, (random) => {
    const original = drawn(how.originals, random);
    const bytes = Buffer.from(original.bytes);
    const changes: string[] = [];
    for (let left = 1 + (random() % how.most); left > 0; left--)
      changes.push(how.damage(bytes, original.places, random));
    const sealed = how.seal?.(bytes, original, random);
    if (sealed !== undefined) changes.push(sealed);
    const length = random() % how.cutEach === 0 ? random() % bytes.length : bytes.length;
    if (length < bytes.length) changes.push(`cut to ${length}`);
    const disk = new BytesDisk(bytes.subarray(0, length));
    const told = `${original.name} with ${changes.join(', ')}`;
    return { told, disk, open: (problem) => how.open(disk, problem, original) };
  });
}

/** Opens a file system as a tree. */
export async function fileSystemTree(
  open: OpenFileSystem,
  disk: Disk,
  problem: (sentence: string) => void,
): Promise<Tree> {
  const problems = new Problems(problem);
  const fileSystem = await open(disk, { signal, problem: (sentence) => problems.add(sentence) });
  return new FileSystemTree(fileSystem, problems);
}

import { StillError } from '../../src/errors.js';
import type { Tree } from '../../src/tree/tree.js';
import { numbers } from '../corpus/qcow2-images.js';
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
    const begun = process.cpuUsage();
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
    const { user, system } = process.cpuUsage(begun);
    const milliseconds = Math.round((user + system) / 1000);
    if (milliseconds > limits.milliseconds) found(`took ${milliseconds} ms`);
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

/** As often as `damage` says what it does, and now and then the end of the image is missing. */
export function damagedBytes(
  original: Buffer,
  {
    most,
    cutEach,
    damage,
    seal,
  }: {
    readonly most: number;
    readonly cutEach: number;
    readonly damage: (bytes: Buffer) => string;
    /** What is done when all else is, before the end is cut off. */
    readonly seal?: (bytes: Buffer) => string | undefined;
  },
  random: () => number,
): { bytes: Buffer; changes: string } {
  const bytes = Buffer.from(original);
  const changes: string[] = [];
  for (let left = 1 + (random() % most); left > 0; left--) changes.push(damage(bytes));
  const sealed = seal?.(bytes);
  if (sealed !== undefined) changes.push(sealed);
  const length = random() % cutEach === 0 ? random() % bytes.length : bytes.length;
  if (length < bytes.length) changes.push(`cut to ${length}`);
  return { bytes: bytes.subarray(0, length), changes: changes.join(', ') };
}

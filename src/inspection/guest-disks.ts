import type { Disk } from '../disks/disk.js';
import { messageOf, StillError } from '../errors.js';
import type { FileSystem } from '../filesystems/file-system.js';
import { FileSystemTree } from '../filesystems/file-system-tree.js';
import { openFileSystem } from '../filesystems/open-file-system.js';
import type { Name } from '../name.js';
import { Problems } from '../problems.js';
import type { Tree } from '../tree/tree.js';
import { findVolumes } from '../volumes/find-volumes.js';
import { isRaidMember, raidMember, signatureOf } from '../volumes/signature.js';
import type { GuestDisk, Volume } from '../volumes/volume.js';
import { type FoundVolume, type VolumeContent, volumeText } from './found-volume.js';
import { findSystem, type GuestSystem } from './guest-system.js';

interface LookedAt {
  readonly found: FoundVolume;
  readonly fileSystem: FileSystem | undefined;
  readonly problems: Problems;
}

/** The disks of one guest, looked into: which volumes there are, what is on them, and how its system puts them together. */
export class GuestDisks {
  readonly #disks: readonly GuestDisk[];
  readonly #problem: (sentence: string) => void;
  readonly #looked: readonly LookedAt[];

  private constructor(
    disks: readonly GuestDisk[],
    problem: (sentence: string) => void,
    looked: readonly LookedAt[],
  ) {
    this.#disks = disks;
    this.#problem = problem;
    this.#looked = looked;
  }

  /** Finds the volumes and looks what is on each. One that is damaged keeps nobody from the others. */
  static async open(
    disks: readonly GuestDisk[],
    problem: (sentence: string) => void,
    signal: AbortSignal,
  ): Promise<GuestDisks> {
    const volumes = await findVolumes(disks, { signal, problem });
    return new GuestDisks(
      disks,
      problem,
      await Promise.all(volumes.map((volume) => lookAt(volume, problem, signal))),
    );
  }

  get volumes(): readonly FoundVolume[] {
    return this.#looked.map(({ found }) => found);
  }

  /** The tree of a volume's file system; closing it leaves the file system open for others. */
  tree(volume: number): Tree {
    const looked = this.#looked[volume];
    if (!looked?.fileSystem) throw new StillError('ENOENT', `volume ${volume} holds no file system`);
    const { fileSystem, problems } = looked;
    return new FileSystemTree(lent(fileSystem), problems);
  }

  system(signal: AbortSignal): Promise<GuestSystem> {
    const trees = new Map<number, Tree>();
    const tree = async (volume: number): Promise<Tree> => {
      const known = trees.get(volume) ?? this.tree(volume);
      trees.set(volume, known);
      return known;
    };
    const disks = this.#disks.map(({ name }): Name => name);
    return findSystem({ volumes: this.volumes, disks, tree, problem: this.#problem }, signal);
  }

  async close(): Promise<void> {
    await Promise.all(this.#looked.map(({ fileSystem }) => fileSystem?.close()));
  }
}

/** Of these nobody misses a file: what a physical volume holds is shown as logical volumes. */
const withoutFiles = ['swap', 'swsuspend', 'LVM2_member'];

async function lookAt(
  volume: Volume,
  problem: (sentence: string) => void,
  signal: AbortSignal,
): Promise<LookedAt> {
  const { path, partition, partitionUuid, partitionLabel, logical, disk } = volume;
  const name = volumeText(volume);
  const problems = new Problems((sentence) => problem(`In ${name}: ${sentence}`));
  const facts = {
    path,
    size: disk?.size,
    ...(partition && { partition }),
    ...(partitionUuid !== undefined && { partitionUuid }),
    ...(partitionLabel !== undefined && { partitionLabel }),
    ...(logical && { logical }),
  };
  const { content, fileSystem } = await contentOf(disk, problems, signal);
  const say = sentenceOn(content);
  if (say !== undefined) problem(`${name} is not shown: ${say}.`);
  return { found: { ...facts, content }, fileSystem, problems };
}

async function contentOf(
  disk: Disk | undefined,
  problems: Problems,
  signal: AbortSignal,
): Promise<{ readonly content: VolumeContent; readonly fileSystem?: FileSystem }> {
  // Whoever found the volume has told why.
  if (!disk) return { content: { kind: 'unreadable', reason: undefined } };
  try {
    // A part of a RAID may begin like the file system on it, and go on with something else.
    if (await isRaidMember(disk, signal)) return { content: { kind: 'other', ...raidMember } };
    const problem = (sentence: string): void => problems.add(sentence);
    const fileSystem = await openFileSystem(disk, { signal, problem });
    if (fileSystem) return { content: { kind: 'file system', facts: fileSystem.facts }, fileSystem };
    const signature = await signatureOf(disk, signal);
    return { content: signature ? { kind: 'other', ...signature } : { kind: 'unknown' } };
  } catch (error) {
    signal.throwIfAborted();
    return { content: { kind: 'unreadable', reason: messageOf(error) } };
  }
}

/** Why a volume is not shown, where a user may miss it. */
function sentenceOn(content: VolumeContent): string | undefined {
  if (content.kind === 'other' && !withoutFiles.includes(content.type))
    return `it holds ${content.description}, which is not read`;
  return content.kind === 'unreadable' ? content.reason : undefined;
}

/** A file system that others use too. */
function lent(fileSystem: FileSystem): FileSystem {
  return {
    facts: fileSystem.facts,
    root: fileSystem.root,
    node: (inode, signal) => fileSystem.node(inode, signal),
    attributesNow: (inode) => fileSystem.attributesNow(inode),
    capacity: () => fileSystem.capacity(),
    close: async () => undefined,
  };
}

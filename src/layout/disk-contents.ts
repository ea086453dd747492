import { type FoundVolume, volumeText } from '../inspection/found-volume.js';
import { systemTree, volumesTree } from '../inspection/guest-tree.js';
import { nameToText } from '../name.js';
import type { Time } from '../time.js';
import type { OpenTree, Tree } from '../tree/tree.js';
import type { LayoutContext } from './context.js';
import type { Still } from './still.js';
import { jsonText, type Text } from './text-file.js';

/** What is inside the disks of a backup or a snapshot. */
export class DiskContents {
  readonly #context: LayoutContext;
  readonly #still: Still;
  readonly #time: Time;

  constructor(context: LayoutContext, still: Still, time: Time) {
    this.#context = context;
    this.#still = still;
    this.#time = time;
  }

  /** `files/`: each volume by itself. */
  readonly files: OpenTree = async (signal) => {
    const { value, release } = await this.#borrow(signal);
    try {
      return volumesTree(value.volumes, this.#openVolume, this.#look);
    } finally {
      release();
    }
  };

  /** `rootfs/`: as the guest's own system sees them. */
  readonly rootfs: OpenTree = async (signal, problem) => {
    const { value, release } = await this.#borrow(signal);
    try {
      const system = await value.system();
      const { volumes } = value;
      return await systemTree({ system, volumes, open: this.#openVolume, look: this.#look, problem }, signal);
    } finally {
      release();
    }
  };

  /** `volumes.json`: what there is, also what is not read. */
  async describe(signal: AbortSignal): Promise<Text> {
    const { value, release } = await this.#borrow(signal);
    try {
      return jsonText({ volumes: value.volumes.map(described) }, this.#time);
    } finally {
      release();
    }
  }

  get #look(): { uid: number; gid: number; time: Time } {
    return { ...this.#context.owner, time: this.#time };
  }

  #borrow(signal: AbortSignal): ReturnType<LayoutContext['inspections']['borrow']> {
    return this.#context.inspections.borrow(this.#still, signal);
  }

  /** As long as a volume's tree is open, the disks are. */
  readonly #openVolume = async ({ path }: FoundVolume, signal: AbortSignal): Promise<Tree> => {
    const { value, release } = await this.#borrow(signal);
    try {
      return await value.tree(path, release, signal);
    } catch (error) {
      release();
      throw error;
    }
  };
}

function described(volume: FoundVolume): Readonly<Record<string, unknown>> {
  const { size, content, partition, partitionUuid, partitionLabel, logical } = volume;
  return {
    volume: volumeText(volume),
    size: size ?? null,
    ...(partition && { disk: nameToText(partition.disk), partition: partition.number }),
    ...(partitionUuid !== undefined && { partuuid: partitionUuid }),
    ...(partitionLabel !== undefined && { partlabel: partitionLabel }),
    ...(logical && { group: logical.group, logicalVolume: logical.volume }),
    ...describedContent(content),
  };
}

function describedContent(content: FoundVolume['content']): Readonly<Record<string, unknown>> {
  switch (content.kind) {
    case 'file system': {
      const { kind, uuid, label } = content.facts;
      return {
        content: kind,
        read: true,
        ...(uuid !== undefined && { uuid }),
        ...(label !== undefined && { label }),
      };
    }
    case 'other':
      return { content: content.type, description: content.description, read: false };
    case 'unknown':
      return { content: null, read: false };
    case 'unreadable':
      return { content: null, read: false, ...(content.reason !== undefined && { reason: content.reason }) };
  }
}

import { MapReader } from '../disks/dirty-map/map-reader.js';
import type { DiskSurvey } from '../disks/dirty-map/survey.js';
import type { Name } from '../name.js';
import type { LayoutContext } from './context.js';
import { DiskNode } from './disk-node.js';
import type { FolderNode, OpenFile } from './node.js';
import type { StillNode } from './still-node.js';

/** `<disk>.dirty.json` and `<disk>.dirty.map`: which ranges of a disk are dirty, for programs. */
export class DirtyMapFile extends DiskNode {
  readonly #format: 'json' | 'mapfile';

  constructor(
    context: LayoutContext,
    path: Name,
    parent: FolderNode,
    owner: StillNode,
    disk: Name,
    format: 'json' | 'mapfile',
  ) {
    super(context, path, parent, owner, disk);
    this.#format = format;
  }

  async open(signal: AbortSignal): Promise<OpenFile> {
    const survey = await this.survey(signal);
    const { value, release, key } = await this.borrow(signal);
    const { mapText } = this.context.disks;
    const blockKey = (block: number): string => `${key}\0${this.#format}\0${block}`;
    const reader = new MapReader(value, survey, survey[this.#format], {
      get: (block) => mapText.get(blockKey(block)),
      set: (block, text) => mapText.set(blockKey(block), text),
    });
    return {
      cache: this.cache,
      size: reader.size,
      read: (offset, target, reading) => reader.read(offset, target, reading),
      release,
    };
  }

  protected override sizes(survey: DiskSurvey): { size: number; allocated: number } {
    const { size } = survey[this.#format];
    return { size, allocated: size };
  }
}

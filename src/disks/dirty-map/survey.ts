import type { Disk } from '../disk.js';
import { ddrescueMapfile, type MapFormat, nbdinfoJson } from './map-format.js';
import { extentsOf, type Range, RangeJoiner } from './ranges.js';

/** How finely a survey remembers where it was. */
export interface SurveyBounds {
  /** A map's text is made block by block: each begins with a row, and has this many rows at first. */
  readonly rowsPerBlock: number;
  /** With more blocks than this (an even number), every two become one. */
  readonly mostBlocks: number;
}

/** What a survey holds stays under 3 MiB for any disk. */
const defaultBounds: SurveyBounds = { rowsPerBlock: 1024, mostBlocks: 65_536 };

/** Where the blocks of one map's text begin. */
export interface MapText {
  readonly format: MapFormat;
  /** Bytes of the whole text. */
  readonly size: number;
  /** The offset in the text at which each block begins, ascending; the first is 0. */
  readonly blocks: readonly number[];
}

/** What one walk over all extents of a disk tells, so that no size needs another walk. */
export interface DiskSurvey {
  /** Bytes of the disk. */
  readonly size: number;
  /** Bytes that are not known to be zeros. */
  readonly allocated: number;
  /** Bytes. */
  readonly dirty: number;
  /** The offset on the disk at which each block of a map begins. */
  readonly blocks: readonly number[];
  readonly json: MapText;
  readonly mapfile: MapText;
}

class TextMeasure {
  size: number;
  blocks: number[] = [];

  constructor(readonly format: MapFormat) {
    this.size = format.header.length;
  }

  add(range: Range, beginsBlock: boolean): void {
    if (beginsBlock) this.blocks.push(this.blocks.length === 0 ? 0 : this.size);
    this.size += this.format.rowLength(range);
  }

  finished(): MapText {
    return { format: this.format, size: this.size + this.format.footer.length, blocks: this.blocks };
  }
}

/**
 * Walks over a disk once. Memory does not grow with the number of extents: a disk of 2 TiB whose every second cluster is
 * dirty has 32 million ranges, and maps of more than a gigabyte.
 */
export async function survey(
  disk: Disk,
  signal?: AbortSignal,
  { rowsPerBlock, mostBlocks }: SurveyBounds = defaultBounds,
): Promise<DiskSurvey> {
  const json = new TextMeasure(nbdinfoJson);
  const mapfile = new TextMeasure(ddrescueMapfile);
  let blocks: number[] = [];
  let perBlock = rowsPerBlock;
  let rows = 0;
  let allocated = 0;
  let dirty = 0;

  const count = (range: Range): void => {
    if (rows % perBlock === 0 && blocks.length === mostBlocks) {
      const even = (_start: number, index: number): boolean => index % 2 === 0;
      blocks = blocks.filter(even);
      json.blocks = json.blocks.filter(even);
      mapfile.blocks = mapfile.blocks.filter(even);
      perBlock *= 2;
    }
    const begins = rows % perBlock === 0;
    if (begins) blocks.push(range.offset);
    json.add(range, begins);
    mapfile.add(range, begins);
    rows++;
  };

  const joiner = new RangeJoiner((extent) => extent.dirty);
  for await (const extents of extentsOf(disk, 0, disk.size, signal)) {
    for (const extent of extents) {
      if (!extent.zero) allocated += extent.length;
      if (extent.dirty) dirty += extent.length;
      const ended = joiner.add(extent);
      if (ended) count(ended);
    }
  }
  const last = joiner.finish();
  if (last) count(last);
  return { size: disk.size, allocated, dirty, blocks, json: json.finished(), mapfile: mapfile.finished() };
}

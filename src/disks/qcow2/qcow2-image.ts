import { setImmediate as nextTurn } from 'node:timers/promises';
import { StillError } from '../../errors.js';
import type { Extent } from '../../extents.js';
import { type Name, nameToText } from '../../name.js';
import type { Disk } from '../disk.js';
import { mustLieWithin } from '../disk-range.js';
import type { ImageFile } from '../image-file.js';
import { fileExtents } from '../raw/file-extents.js';
import type { StoreFolder } from '../store-folder.js';
import { openChain } from './chain.js';
import { ChainCursor, type Source } from './chain-cursor.js';
import type { CompressedClusters } from './compressed-clusters.js';
import { type Layer, RawLayer } from './layer.js';

/**
 * Opens a qcow2 image with the whole chain that it is based on. `zero` is said of the chain, `dirty` of the image's own
 * layer: its data, its zero clusters, what lies beyond its parent's end, and everything where it has no parent.
 * Its internal snapshots and bitmaps are left alone. `own` is how many images, from the first on, are taken for one layer.
 * Errors: those of `openChain`; EINVAL: the chain has fewer images.
 */
export async function openQcow2Image(
  folder: StoreFolder,
  path: Name,
  signal?: AbortSignal,
  own = 1,
): Promise<Disk> {
  const layers = await openChain(folder, path, signal);
  if (own <= layers.length) return new Qcow2Image(layers, own);
  await Promise.all(layers.map((layer) => layer.close()));
  const shown = `${folder.path}/${nameToText(path)}`;
  throw new StillError(
    'EINVAL',
    `${shown} is a chain of ${layers.length} images; ${own} are expected at least`,
  );
}

/** A read is mapped and done in parts of this many bytes, so that its plan stays small. */
const partBytes = 4 << 20;
/** How many waits one read has under way at a time. */
const lanes = 8;
/** How many extents one answer has at most, and after how many look-ups (of up to 2048 entries) others get a turn. */
const mostExtents = 1024;
const lookupsATurn = 32;
const mostLookups = 64 * lookupsATurn;

/** A part of a read that has to wait: for a file, or for a decompression. */
type Waiting = (signal?: AbortSignal) => Promise<void>;

class Qcow2Image implements Disk {
  readonly size: number;
  readonly #layers: readonly Layer[];
  readonly #top: Layer;
  /** The first image of the chain that is not the disk's own. */
  readonly #parent: Layer | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    layers: readonly Layer[],
    private readonly own: number,
  ) {
    const top = layers[0];
    if (!top) throw new RangeError('a chain has at least one image');
    this.#layers = layers;
    this.#top = top;
    this.#parent = layers[own];
    this.size = top.size;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    mustLieWithin(this, this.#top.file.path, offset, target.length);
    for (let done = 0; done < target.length; done += partBytes)
      await this.#readPart(offset + done, target.subarray(done, done + partBytes), signal);
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    signal?.throwIfAborted();
    mustLieWithin(this, this.#top.file.path, offset, length);
    const end = offset + length;
    const found: Extent[] = [];
    const cursor = new ChainCursor(this.#layers);
    let at = offset;
    for (let lookups = 1; at < end && found.length < mostExtents && lookups <= mostLookups; lookups++) {
      if (lookups % lookupsATurn === 0) {
        await nextTurn();
        signal?.throwIfAborted();
      }
      let source: Source;
      try {
        source = await this.#find(cursor, at, Math.min(end - at, this.#toParentsEnd(at)), signal);
      } catch (error) {
        // What was found before the damage is good; asked again from there, the damage is the answer.
        if (found.length > 0 && !signal?.aborted) break;
        throw error;
      }
      for (const extent of await this.#extentsOf(source, at, signal)) append(found, extent);
      const last = found.at(-1);
      if (last) at = last.offset + last.length;
    }
    return found;
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all(this.#layers.map((layer) => layer.close())).then(() => undefined);
    return this.#closing;
  }

  async #readPart(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const cursor = new ChainCursor(this.#layers);
    const waiting: Waiting[] = [];
    // Clusters that follow each other in one file are read at once, also where they are of several L2 tables.
    let stretch: { file: ImageFile; hostOffset: number; from: number; to: number } | undefined;
    const readStretch = (): void => {
      if (!stretch) return;
      const { file, hostOffset, from, to } = stretch;
      const rest = readData(file, hostOffset, target.subarray(from, to));
      if (rest) waiting.push(rest);
      stretch = undefined;
    };

    for (let at = 0; at < target.length; ) {
      const { depth, run } = await this.#find(cursor, offset + at, target.length - at, signal);
      const to = at + run.length;
      const layer = this.#layers[depth];
      if (run.kind === 'data' && layer) {
        if (
          stretch &&
          stretch.file === layer.file &&
          stretch.hostOffset + (at - stretch.from) === run.hostOffset
        ) {
          stretch.to = to;
        } else {
          readStretch();
          stretch = { file: layer.file, hostOffset: run.hostOffset, from: at, to };
        }
      } else {
        readStretch();
        if (run.kind === 'compressed' && layer?.compressed) {
          const rest = readCompressed(layer.compressed, run, target.subarray(at, to));
          if (rest) waiting.push(rest);
        } else {
          target.fill(0, at, to);
        }
      }
      at = to;
    }
    readStretch();
    await inLanes(waiting, signal);
  }

  /** Where a range comes from; reads the tables that tell it. */
  async #find(cursor: ChainCursor, offset: number, length: number, signal?: AbortSignal): Promise<Source> {
    for (;;) {
      const found = cursor.find(offset, length);
      if ('run' in found) return found;
      await found.layer.prepare(offset, signal);
      signal?.throwIfAborted();
    }
  }

  /** How far it is to the parent's end, where what is absent turns from the parent's into this layer's own. */
  #toParentsEnd(offset: number): number {
    const parent = this.#parent;
    return parent && offset < parent.size ? parent.size - offset : Number.POSITIVE_INFINITY;
  }

  async #extentsOf(source: Source, offset: number, signal?: AbortSignal): Promise<Extent[]> {
    const { depth, run } = source;
    const parent = this.#parent;
    const dirty = depth < this.own || !parent || offset >= parent.size;
    const layer = this.#layers[depth];
    if (run.kind === 'data' && layer instanceof RawLayer) {
      const ranges = await fileExtents(layer.file, run.hostOffset, run.length, signal);
      return ranges.map((range) => ({ ...range, dirty }));
    }
    return [{ offset, length: run.length, zero: run.kind === 'zero', dirty }];
  }
}

/**
 * Reads data from a file into a target, at once as far as the page cache holds it. Returns what is left to wait for.
 * Beyond the file's end are zeros: the last cluster may be a short one.
 */
function readData(file: ImageFile, hostOffset: number, target: Uint8Array): Waiting | undefined {
  const inFile = Math.max(Math.min(file.size - hostOffset, target.length), 0);
  target.fill(0, inFile);
  if (inFile === 0) return undefined;
  const wanted = target.subarray(0, inFile);
  const ready = file.readNow(hostOffset, wanted);
  if (ready === inFile) return undefined;
  return async (signal) => {
    const count = ready + (await file.read(hostOffset + ready, wanted.subarray(ready), signal));
    if (count < inFile)
      throw new StillError(
        'EIO',
        `${file.path} ends at ${hostOffset + count}: it was cut short from ${file.size} bytes while open`,
      );
  };
}

function readCompressed(
  clusters: CompressedClusters,
  run: Source['run'] & { kind: 'compressed' },
  target: Uint8Array,
): Waiting | undefined {
  const copy = (cluster: Uint8Array): void =>
    target.set(cluster.subarray(run.within, run.within + target.length));
  const ready = clusters.now(run.hostOffset, run.hostLength);
  if (!ready) return async (signal) => copy(await clusters.get(run.hostOffset, run.hostLength, signal));
  copy(ready);
  return undefined;
}

/** Does all of some work, some at a time; ends at the first failure. */
async function inLanes(waiting: readonly Waiting[], signal?: AbortSignal): Promise<void> {
  if (waiting.length === 0) return;
  let next = 0;
  let failed = false;
  const lane = async (): Promise<void> => {
    while (!failed) {
      const work = waiting[next++];
      if (!work) return;
      try {
        await work(signal);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, waiting.length) }, lane));
}

/** Adds an extent, or makes the last one longer. */
function append(extents: Extent[], extent: Extent): void {
  const last = extents.at(-1);
  if (last && last.zero === extent.zero && last.dirty === extent.dirty)
    extents[extents.length - 1] = { ...last, length: last.length + extent.length };
  else extents.push(extent);
}

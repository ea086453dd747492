import { codeOf, isAbort, StillError } from '../../errors.js';
import { type Name, nameToText } from '../../name.js';
import { ImageFile } from '../image-file.js';
import type { StoreFolder } from '../store-folder.js';
import { backingImage, type ImageReference } from './backing-path.js';
import { fixedHeaderBytes, headerEnd, parseHeader, type Qcow2Header } from './header.js';
import { type Layer, Qcow2Layer, RawLayer } from './layer.js';

/** The most images that one disk may be made of: each is an open file, and a step of each look-up. */
export const longestChain = 500;

/**
 * Opens a qcow2 image and all that it is based on, the image first. Errors: what opening a file tells; EIO: damaged;
 * EOPNOTSUPP, EACCES, EINVAL: not read here, by the rules of `parseHeader` and `backingImage`; ELOOP: a circle, or
 * more than `longestChain` images.
 */
export async function openChain(folder: StoreFolder, path: Name, signal?: AbortSignal): Promise<Layer[]> {
  const layers: Layer[] = [];
  const seen = new Set<string>();
  let reference: ImageReference | undefined = { path, format: 'qcow2' };
  try {
    while (reference) {
      if (layers.length === longestChain)
        throw new StillError('ELOOP', `more than ${longestChain} images are one upon the other`);
      const file: ImageFile = await ImageFile.open(folder, reference.path, signal);
      try {
        if (seen.has(file.identity))
          throw new StillError('ELOOP', `${file.path} is, in the end, based on itself`);
        seen.add(file.identity);
        if (reference.format === 'raw') {
          layers.push(new RawLayer(file));
          reference = undefined;
        } else {
          const header: Qcow2Header = await readHeader(file, signal);
          const next: ImageReference | undefined =
            header.backing && backingImage(folder, reference.path, header.backing);
          layers.push(new Qcow2Layer(file, header));
          reference = next;
        }
      } catch (error) {
        await file.close();
        throw error;
      }
    }
    return layers;
  } catch (error) {
    await Promise.all(layers.map((layer) => layer.close()));
    if (layers.length === 0 || isAbort(error) || signal?.aborted) throw error;
    const missing = reference ? `${folder.path}/${nameToText(reference.path)}` : 'a backing file';
    throw new StillError(
      codeOf(error),
      `can't open ${missing}, which ${folder.path}/${nameToText(path)} is based on (image ${layers.length + 1} of its chain)`,
      { cause: error },
    );
  }
}

/** What an image says of itself, without a look at what it is based on. Errors: as those of `openChain`. */
export async function readImageHeader(
  folder: StoreFolder,
  path: Name,
  signal?: AbortSignal,
): Promise<Qcow2Header> {
  const file = await ImageFile.open(folder, path, signal);
  try {
    return await readHeader(file, signal);
  } finally {
    await file.close();
  }
}

async function readHeader(file: ImageFile, signal?: AbortSignal): Promise<Qcow2Header> {
  const fixed = await readStart(file, Math.min(fixedHeaderBytes, file.size), signal);
  const whole = await readStart(file, headerEnd(fixed, file.path, file.size), signal);
  return parseHeader(whole, file.path, file.size);
}

async function readStart(file: ImageFile, length: number, signal?: AbortSignal): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  const count = await file.read(0, bytes, signal);
  return bytes.subarray(0, count);
}

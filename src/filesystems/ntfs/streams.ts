import { messageOf, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import { attributeTypes } from './attribute.js';
import { mostExtendedAttributeBytes, parseExtendedAttributes } from './extended-attributes.js';
import type { FileAttributes } from './file-attributes.js';
import { nameFromUtf16 } from './file-name.js';
import { chunksStream } from './system-compression.js';
import type { Volume } from './volume.js';

/** What Linux takes: linux/limits.h, XATTR_SIZE_MAX, XATTR_NAME_MAX, XATTR_LIST_MAX. */
const mostValueBytes = 65536;
const longestName = 255;
const mostListBytes = 65536;
/** Of all values of a file together. */
const mostBytes = 4 << 20;
/** ntfs3, Linux's own driver, keeps extended attributes as those of OS/2, by their whole names. */
const ofLinux = /^(?:user|trusted|security)\../s;

/**
 * The alternate data streams of a file, as `user.<stream>`, and the extended attributes that Linux gave it. What is too large for an
 * extended attribute is left out, and told.
 */
export async function streamsOf(
  volume: Volume,
  number: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<Name, Uint8Array>> {
  // Whoever has listed them asks for one after the other.
  if (volume.lastStreams?.file === number) return volume.lastStreams.found;
  const found = await readStreams(volume, await volume.file(number, signal), signal);
  volume.lastStreams = { file: number, found };
  return found;
}

async function readStreams(
  volume: Volume,
  file: FileAttributes,
  signal: AbortSignal,
): Promise<ReadonlyMap<Name, Uint8Array>> {
  const { number } = file.record;
  const found = new Map<Name, Uint8Array>();
  let listed = 0;
  let bytes = 0;
  const add = (name: Name, value: Uint8Array): void => {
    found.set(name, value);
    listed += name.length + 1;
    bytes += value.length;
  };
  const leaveOut = (name: string, why: string): void =>
    volume.problem(`The stream ${JSON.stringify(name)} of file ${number} is not shown: ${why}.`);
  for (const stream of file.names(attributeTypes.data)) {
    if (stream === '' || stream === chunksStream) continue;
    const name = `user.${nameFromUtf16(stream)}` as Name;
    try {
      const attribute = await file.find(attributeTypes.data, stream, signal);
      if (!attribute) continue;
      const { size, content } = volume.value(file, attribute);
      if (size > mostValueBytes)
        leaveOut(stream, `it has ${size} bytes, and an extended attribute 65536 at most`);
      else if (name.length > longestName || name.includes('\0'))
        leaveOut(stream, 'its name can be no attribute’s');
      else if (listed + name.length >= mostListBytes || bytes + size > mostBytes)
        leaveOut(stream, 'the file has more of them than Linux can take');
      else {
        const value = Buffer.alloc(size);
        await content.read(0, value, signal);
        add(name, value);
      }
    } catch (error) {
      if (!(error instanceof StillError)) throw error;
      leaveOut(stream, messageOf(error));
    }
  }
  const attributes = await volume.whole(
    file,
    attributeTypes.extendedAttributes,
    '',
    mostExtendedAttributeBytes,
    signal,
  );
  if (!attributes) return found;
  for (const [name, value] of parseExtendedAttributes(attributes, number)) {
    const isFree = ofLinux.test(name) && !found.has(name as Name);
    if (isFree && listed + name.length < mostListBytes) add(name as Name, value);
  }
  return found;
}

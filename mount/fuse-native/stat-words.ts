import type { Time } from '../../src/time.js';
import type { Attributes, FileType } from '../../src/tree/attributes.js';

/**
 * What stat(2) tells, as fuse-native hands it to libfuse: 18 words of 32 bits (`populate_stat` in its fuse-native.c).
 * Sizes, blocks and times take two words, low before high; times are milliseconds, and none is before 1970.
 */
export function statWords(attributes: Attributes): Uint32Array {
  const words = new Uint32Array(18);
  words[0] = modeOf[attributes.type] | attributes.permissions;
  words[1] = attributes.uid;
  words[2] = attributes.gid;
  write(words, 3, attributes.size);
  // 5 and 7: st_dev and st_ino, which libfuse replaces by its own
  words[6] = attributes.links;
  words[8] = deviceNumber(attributes.device);
  words[9] = preferredBytes;
  write(words, 10, Math.ceil(attributes.allocated / blockBytes));
  write(words, 12, milliseconds(attributes.accessed));
  write(words, 14, milliseconds(attributes.modified));
  write(words, 16, milliseconds(attributes.changed));
  return words;
}

/** The same for a row of a listing, where only the type is looked at. One for all rows of a type. */
export function rowWords(type: FileType): Uint32Array {
  return typeWords[type];
}

const blockBytes = 512;
const preferredBytes = 4096;

const modeOf: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

function onlyType(type: FileType): Uint32Array {
  return Uint32Array.of(modeOf[type], ...new Array<number>(17).fill(0));
}

const typeWords: Readonly<Record<FileType, Uint32Array>> = {
  fifo: onlyType('fifo'),
  character: onlyType('character'),
  directory: onlyType('directory'),
  block: onlyType('block'),
  file: onlyType('file'),
  symlink: onlyType('symlink'),
  socket: onlyType('socket'),
};

function write(words: Uint32Array, at: number, value: number): void {
  words[at] = value % 0x1_0000_0000;
  words[at + 1] = Math.floor(value / 0x1_0000_0000);
}

/** The package divides by 1000 without a sign: a time before 1970 would be 584 million years ahead. */
function milliseconds(time: Time): number {
  const exact = time.seconds * 1000 + Math.floor(time.nanoseconds / 1_000_000);
  return Math.min(Math.max(exact, 0), Number.MAX_SAFE_INTEGER);
}

/** Linux's 32-bit form of a device number, new_encode_dev in linux/kdev_t.h. */
function deviceNumber(device: Attributes['device']): number {
  if (!device) return 0;
  const { major, minor } = device;
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

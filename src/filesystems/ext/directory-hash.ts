import type { Superblock } from './superblock.js';

// The hashes of names by which folders are sorted: linux fs/ext4/hash.c and lib/halfmd4.c
const startOfSeed = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const delta = 0x9e37_79b9;
const k2 = 0o13240474631;
const k3 = 0o15666365641;
/** EXT4_HTREE_EOF_32BIT, which stands for the end of a folder. */
const end = 0x7fff_ffff * 2;

/** DX_HASH_*: of chars that are signed, or not. */
export type HashAlgorithm = 'legacy' | 'half_md4' | 'tea';
const algorithms: readonly HashAlgorithm[] = ['legacy', 'half_md4', 'tea'];

export interface NameHash {
  /** Unsigned, and even. */
  readonly major: number;
  readonly minor: number;
}

/** Gives a name its hash. */
export type HashName = (name: Buffer) => NameHash;

/** The hash of this version, as an index's root or the superblock has it; undefined for one that is not known here. */
export function hashOfVersion(version: number, { hash }: Superblock): HashName | undefined {
  const algorithm = algorithms[version % 3];
  if (algorithm === undefined || version > 5) return undefined;
  const isUnsigned = version >= 3 || hash.unsigned;
  const seed = hash.seed.some((word) => word !== 0) ? hash.seed : startOfSeed;
  return (name) => hashOf(name, algorithm, seed, isUnsigned);
}

function hashOf(
  name: Buffer,
  algorithm: HashAlgorithm,
  seed: readonly number[],
  isUnsigned: boolean,
): NameHash {
  if (algorithm === 'legacy') return { major: usable(legacy(name, isUnsigned)), minor: 0 };
  const state = Int32Array.from(seed);
  const step = algorithm === 'half_md4' ? 32 : 16;
  const words = new Int32Array(step / 4);
  for (let at = 0; at < name.length; at += step) {
    fill(words, name, at, isUnsigned);
    if (algorithm === 'half_md4') halfMd4(state, words);
    else tea(state, words);
  }
  const [a = 0, b = 0, c = 0] = state;
  return algorithm === 'half_md4'
    ? { major: usable(b), minor: c >>> 0 }
    : { major: usable(a), minor: b >>> 0 };
}

function usable(hash: number): number {
  const even = (hash & ~1) >>> 0;
  return even === end ? end - 2 : even;
}

/** A char as the processor that made the folder has them: where they are signed, half of them are below 0. */
function charAt(name: Buffer, at: number, isUnsigned: boolean): number {
  return isUnsigned ? name.readUInt8(at) : name.readInt8(at);
}

function legacy(name: Buffer, isUnsigned: boolean): number {
  let before = 0x37ab_e8f9;
  let last = 0x12a3_fe2d;
  for (let at = 0; at < name.length; at++) {
    let hash = (before + (last ^ Math.imul(charAt(name, at, isUnsigned), 7152373))) | 0;
    if (hash < 0) hash = (hash - 0x7fff_ffff) | 0;
    before = last;
    last = hash;
  }
  return last << 1;
}

/** Fills words with a name's bytes from `at` on, and with its length where they end (str2hashbuf). */
function fill(words: Int32Array, name: Buffer, at: number, isUnsigned: boolean): void {
  const left = name.length - at;
  const byte = left | (left << 8);
  const padding = byte | (byte << 16);
  for (let word = 0; word < words.length; word++) {
    let value = padding;
    const from = at + word * 4;
    for (let place = from; place < Math.min(from + 4, name.length); place++)
      value = (charAt(name, place, isUnsigned) + (value << 8)) | 0;
    words[word] = value;
  }
}

function tea(state: Int32Array, words: Int32Array): void {
  const [a = 0, b = 0, c = 0, d = 0] = words;
  let [x = 0, y = 0] = state;
  let sum = 0;
  for (let round = 0; round < 16; round++) {
    sum = (sum + delta) | 0;
    x = (x + ((((y << 4) + a) | 0) ^ ((y + sum) | 0) ^ (((y >>> 5) + b) | 0))) | 0;
    y = (y + ((((x << 4) + c) | 0) ^ ((x + sum) | 0) ^ (((x >>> 5) + d) | 0))) | 0;
  }
  state[0] = (state[0] ?? 0) + x;
  state[1] = (state[1] ?? 0) + y;
}

type Mix = (x: number, y: number, z: number) => number;
const rounds: ReadonlyArray<{
  mix: Mix;
  constant: number;
  order: readonly number[];
  turns: readonly number[];
}> = [
  {
    mix: (x, y, z) => z ^ (x & (y ^ z)),
    constant: 0,
    order: [0, 1, 2, 3, 4, 5, 6, 7],
    turns: [3, 7, 11, 19],
  },
  {
    mix: (x, y, z) => (x & y) + ((x ^ y) & z),
    constant: k2,
    order: [1, 3, 5, 7, 0, 2, 4, 6],
    turns: [3, 5, 9, 13],
  },
  { mix: (x, y, z) => x ^ y ^ z, constant: k3, order: [3, 7, 2, 6, 1, 5, 0, 4], turns: [3, 9, 11, 15] },
];

function halfMd4(state: Int32Array, words: Int32Array): void {
  let [a = 0, b = 0, c = 0, d = 0] = state;
  for (const { mix, constant, order, turns } of rounds) {
    for (const [step, word] of order.entries()) {
      const sum = (a + mix(b, c, d) + (words[word] ?? 0) + constant) | 0;
      const turn = turns[step % 4] ?? 0;
      const turned = (sum << turn) | (sum >>> (32 - turn));
      // The four take turns: what was reckoned last comes first in the next step.
      [a, b, c, d] = [d, turned, b, c];
    }
  }
  state[0] = (state[0] ?? 0) + a;
  state[1] = (state[1] ?? 0) + b;
  state[2] = (state[2] ?? 0) + c;
  state[3] = (state[3] ?? 0) + d;
}

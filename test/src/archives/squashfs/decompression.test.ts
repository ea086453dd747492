import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decompressorOf } from '../../../../src/archives/squashfs/decompressor.js';
import { numbers } from '../../../corpus/qcow2-images.js';

const program = readFileSync('/bin/bash').subarray(0, 300_000);
const unpackXz = decompressorOf('xz');

function xz(bytes: Buffer, ...options: string[]): Buffer {
  return execFileSync('xz', ['--stdout', '--check=crc32', ...options], { input: bytes });
}

describe('xz', () => {
  it.each([
    ['at its worst', ['-0']],
    ['at its best', ['-9e']],
    ['with literals by position', ['--lzma2=preset=6,lc=0,lp=4,pb=4']],
    ['without literals by position', ['--lzma2=preset=6,lc=4,lp=0,pb=0']],
    ['for x86', ['--x86', '--lzma2']],
    ['for ARM', ['--arm', '--lzma2']],
    ['for ARM Thumb', ['--armthumb', '--lzma2']],
    ['for ARM64', ['--arm64', '--lzma2']],
    ['for PowerPC', ['--powerpc', '--lzma2']],
    ['for SPARC', ['--sparc', '--lzma2']],
  ])('gives back a program that was packed %s', async (_how, options) => {
    expect(program.equals(await unpackXz(xz(program, ...options), program.length))).toBe(true);
  });

  it('gives back what could not be packed, between what could', async () => {
    const random = numbers(3);
    const noise = Buffer.from(Uint8Array.from({ length: 200_000 }, () => random()));
    const bytes = Buffer.concat([program, noise, Buffer.alloc(100_000), noise.subarray(50_000), program]);
    expect(bytes.equals(await unpackXz(xz(bytes), bytes.length))).toBe(true);
  });

  it.each([
    ['the filter IA-64', ['--ia64', '--lzma2']],
    ['the filter delta', ['--delta', '--lzma2']],
    ['the check CRC64', ['--check=crc64']],
    ['the check SHA-256', ['--check=sha256']],
  ])('refuses %s by its name', async (what, options) => {
    await expect(unpackXz(xz(program, ...options), program.length)).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
      message: expect.stringContaining(what),
    });
  });
});

/** What a block is packed with where no program for it is at hand: literals alone. */
const packers = {
  gzip: (bytes: Buffer) => deflateSync(bytes),
  xz: (bytes: Buffer) => xz(bytes),
} as const;

describe.each(['gzip', 'xz'] as const)('%s', (compressor) => {
  const unpack = decompressorOf(compressor);
  const packed = packers[compressor](program);

  it('refuses more than a block holds', async () => {
    await expect(unpack(packed, program.length - 1)).rejects.toMatchObject({ code: 'EIO' });
    expect((await unpack(packed, program.length + 5)).length).toBe(program.length);
  });

  it('refuses a block that is cut anywhere', async () => {
    const small = packers[compressor](program.subarray(0, 500));
    const end = compressor === 'xz' ? small.length - 28 : small.length;
    for (let length = 0; length < end; length++) {
      await expect(unpack(small.subarray(0, length), 500)).rejects.toMatchObject({ code: 'EIO' });
    }
  });

  it('refuses a block with another bit', async () => {
    const random = numbers(5);
    for (let turn = 0; turn < 20; turn++) {
      const damaged = Buffer.from(packed);
      const at = 16 + (random() % (packed.length - 80));
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (random() % 8));
      await expect(unpack(damaged, program.length)).rejects.toMatchObject({ code: 'EIO' });
    }
  });
});

describe.each([
  // 'abcd', then a match of four bytes, four back; then five literals that end the block
  ['lz4', [0x40, 0x61, 0x62, 0x63, 0x64, 0x04, 0x00, 0x50, 0x31, 0x32, 0x33, 0x34, 0x35], 'abcdabcd12345'],
  // 'abcd' (17 + 4), a match of three bytes four back with a literal after it, the end mark
  ['lzo', [21, 0x61, 0x62, 0x63, 0x64, 0b0100_1101, 0x00, 0x31, 0x11, 0x00, 0x00], 'abcdabc1'],
] as const)('%s', (compressor, bytes, text) => {
  const unpack = decompressorOf(compressor);

  it('gives back literals and matches', async () => {
    expect(`${Buffer.from(await unpack(Buffer.from(bytes), 100))}`).toBe(text);
    expect(`${Buffer.from(await unpack(Buffer.from(bytes), text.length))}`).toBe(text);
  });

  it('refuses more than a block holds, and a block that is cut', async () => {
    for (let most = 0; most < text.length; most++) {
      await expect(unpack(Buffer.from(bytes), most)).rejects.toMatchObject({ code: 'EIO' });
    }
    const open = compressor === 'lz4' ? [5] : [];
    for (let length = 0; length < bytes.length; length++) {
      // An LZ4 block may end after any literals.
      if (open.includes(length)) continue;
      await expect(unpack(Buffer.from(bytes.slice(0, length)), 100)).rejects.toMatchObject({ code: 'EIO' });
    }
  });

  it('refuses a match from before the block', async () => {
    const damaged = Buffer.from(bytes);
    if (compressor === 'lz4') damaged[5] = 5;
    else damaged[6] = 1;
    await expect(unpack(damaged, 100)).rejects.toThrow(/a match leaves the block/);
  });
});

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { inflateCluster } from '../../../../src/disks/qcow2/deflate.js';
import { unpackZstdCluster } from '../../../../src/disks/qcow2/zstd.js';

const sizes = [512, 4096, 65536, 131072, 2 << 20];
const program = readFileSync(process.execPath).subarray(8 << 20, 12 << 20);

/** What the reference program makes of some bytes. */
function zstd(bytes: Buffer, ...options: string[]): Buffer {
  return execFileSync('zstd', ['-q', '-c', ...options], { input: bytes, maxBuffer: 64 << 20 });
}

test.each(sizes)('a cluster of %i bytes comes out of deflate, whatever follows the stream', async (size) => {
  const cluster = program.subarray(0, size);
  const packed = Buffer.concat([deflateRawSync(cluster), Buffer.alloc(300, 0xa5)]);
  expect(Buffer.from(await inflateCluster(packed, size)).equals(cluster)).toBe(true);
});

test.each(sizes)('deflate that gives less or more than a cluster of %i bytes is refused', async (size) => {
  const longer = deflateRawSync(program.subarray(0, size + 1));
  const shorter = deflateRawSync(program.subarray(0, size - 1));
  await expect(inflateCluster(longer, size)).rejects.toThrow();
  await expect(inflateCluster(shorter, size)).rejects.toThrow();
  await expect(inflateCluster(Buffer.alloc(64, 0xff), size)).rejects.toThrow();
});

test('a stream of 256 MiB of zeros gives no more than the cluster it claims to be', async () => {
  const bomb = deflateRawSync(Buffer.alloc(1 << 28));
  const before = process.memoryUsage().arrayBuffers;
  await expect(inflateCluster(bomb, 65536)).rejects.toThrow();
  await expect(inflateCluster(bomb, 2 << 20)).rejects.toThrow();
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 << 20);
});

test.each(sizes)('a cluster of %i bytes comes out of zstd, whatever follows the frame', async (size) => {
  const cluster = program.subarray(0, size);
  const packed = [
    ...[['--no-check'], ['--check'], ['-12'], ['--no-content-size']].map((options) =>
      zstd(cluster, ...options),
    ),
    zstd(Buffer.alloc(size)),
  ];
  for (const [index, frame] of packed.entries()) {
    const expected = index === packed.length - 1 ? Buffer.alloc(size) : cluster;
    const followed = Buffer.concat([frame, Buffer.alloc(300, 0xa5)]);
    expect(Buffer.from(await unpackZstdCluster(followed, size)).equals(expected)).toBe(true);
  }
});

test('a cluster may be several zstd frames', async () => {
  const packed = Buffer.concat([
    zstd(program.subarray(0, 30000)),
    zstd(program.subarray(30000, 65536), '--check'),
  ]);
  expect(Buffer.from(await unpackZstdCluster(packed, 65536)).equals(program.subarray(0, 65536))).toBe(true);
});

test.each(sizes)('zstd that gives less or more than a cluster of %i bytes is refused', async (size) => {
  await expect(unpackZstdCluster(zstd(program.subarray(0, size + 1)), size)).rejects.toThrow();
  await expect(unpackZstdCluster(zstd(program.subarray(0, size - 1)), size)).rejects.toThrow();
  await expect(unpackZstdCluster(Buffer.alloc(64, 0xff), size)).rejects.toThrow();
  await expect(unpackZstdCluster(Buffer.alloc(0), size)).rejects.toThrow();
});

test('zstd that is cut off is refused at every length', async () => {
  const packed = zstd(program.subarray(0, 4096), '--no-check');
  for (let length = 0; length < packed.length; length += 7)
    await expect(unpackZstdCluster(packed.subarray(0, length), 4096)).rejects.toThrow();
});

/** One compressed block with no literals and 33 024 sequences, each a match of 65 539 bytes, in 9 bytes. */
const endlessBlock = [0x00, 255, 0x00, 0x02, 0x54, 0, 0, 52, 1];

test('a zstd frame made to keep a decoder busy for hours is refused in time', async () => {
  const blocks: number[] = [];
  for (let i = 0; i < 1000; i++) {
    const header = (endlessBlock.length << 3) | (2 << 1) | (i === 999 ? 1 : 0);
    blocks.push(header & 255, (header >> 8) & 255, header >> 16, ...endlessBlock);
  }
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, ...blocks]);
  await expect(unpackZstdCluster(frame, 2 << 20)).rejects.toThrow();
});

test('a zstd frame that claims a window or a content of gigabytes gets no memory for it', async () => {
  const block = [0x01, 0x00, 0x00];
  const before = process.memoryUsage().arrayBuffers;
  const largeWindow = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, ...block]);
  const largeContent = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0x7f, ...block]);
  await expect(unpackZstdCluster(largeWindow, 65536)).rejects.toThrow();
  await expect(unpackZstdCluster(largeContent, 65536)).rejects.toThrow();
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 << 20);
});

test('zstd that needs a dictionary is refused', async () => {
  const packed = Buffer.from(zstd(program.subarray(0, 4096)));
  packed[4] = (packed[4] ?? 0) | 1;
  await expect(unpackZstdCluster(packed, 4096)).rejects.toThrow(/dictionary/);
});

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { setNtfs } from './volumes.js';

/**
 * The chunks of each file of a folder, by the file's size, as wimlib packs them by XPRESS: those of a WIM are as those that Windows makes
 * in a volume.
 */
export function packedByWimlib(folder: string, chunkBytes: number): Map<number, Buffer> {
  const image = `${folder}.wim`;
  const how = ['--compress=xpress', `--chunk-size=${chunkBytes}`, '--threads=1', '--quiet'];
  execFileSync('wimlib-imagex', ['capture', folder, image, ...how]);
  const wim = readFileSync(image);
  rmSync(image);
  // Where a resource lies: 7 bytes of its size there, flags, its place, its size unpacked.
  const resource = (at: number): { from: number; to: number; size: number } => {
    const from = Number(wim.readBigUInt64LE(at + 8));
    return { from, to: from + wim.readUIntLE(at, 6), size: Number(wim.readBigUInt64LE(at + 16)) };
  };
  const table = resource(48);
  const found = new Map<number, Buffer>();
  for (let at = table.from; at + 50 <= table.to; at += 50) {
    const { from, to, size } = resource(at);
    found.set(size, wim.subarray(from, to));
  }
  return found;
}

/** Makes a file as Windows keeps one that it has compressed, on a mount with `streams_interface=windows`. */
export async function makeSystemCompressed(
  path: string,
  size: number,
  chunks: Buffer,
  algorithm: number,
): Promise<void> {
  writeFileSync(path, '');
  truncateSync(path, size);
  writeFileSync(`${path}:WofCompressedData`, chunks);
  const information = Buffer.from(Uint32Array.of(1, 2, 1, algorithm).buffer).toString('hex');
  await setNtfs(path, 'ntfs_reparse_data', `1700008010000000${information}`);
}

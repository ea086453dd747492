import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Disk } from '../../src/disks/disk.js';
import { openQcow2Image } from '../../src/disks/qcow2/qcow2-image.js';
import { StoreFolder } from '../../src/disks/store-folder.js';
import { StillError } from '../../src/errors.js';
import { nameFromText } from '../../src/name.js';
import { numbers, qemuImg, qemuIo, writes } from '../corpus/qcow2-images.js';
import type { Fuzzing } from './fuzzing.js';
import { processorTime } from './processor-time.js';

export interface FuzzingQcow2 extends Fuzzing {
  /** Asks QEMU about each so manieth image that could be read whole: what both read must be the same. */
  readonly compareEach: number;
}

export interface Fuzzed {
  /** How many images could still be opened, read without an error, and were read alike by QEMU. */
  readonly opened: number;
  readonly readWhole: number;
  readonly alike: number;
  /** What must never happen, one sentence each, with what makes it happen again. */
  readonly findings: readonly string[];
}

/** Bytes of buffers that all caches and reads together may hold: 32 MiB of tables, 16 MiB of clusters, what is under way. */
const mostBufferBytes = 160 << 20;
/** A computation that takes this long, of the processor's time, was made to. */
const mostMilliseconds = 5000;
const mostRead = 48 << 20;
const chunk = 1 << 20;

/**
 * Damages valid images, mostly where their structure is, and reads what comes of it: each must give bytes or an error
 * that says why, in time, and leave nothing behind.
 */
export async function fuzzQcow2({ folder, seed, count, compareEach }: FuzzingQcow2): Promise<Fuzzed> {
  const originals = await makeOriginals(folder);
  const store = await StoreFolder.open(folder);
  const random = numbers(seed);
  const findings: string[] = [];
  let opened = 0;
  let readWhole = 0;
  let alike = 0;
  const descriptorsBefore = (await readdir('/proc/self/fd')).length;

  for (let i = 0; i < count; i++) {
    const original = originals[random() % originals.length];
    if (!original) throw new Error('there are no images to damage');
    const bytes = Buffer.from(original.bytes);
    const changes: string[] = [];
    for (let left = 1 + (random() % 3); left > 0; left--)
      changes.push(damage(bytes, original.places, random));
    const name = `case-${i % 2}.qcow2`;
    await writeFile(join(folder, name), bytes);

    const story = `seed ${seed}, case ${i}: ${original.name} with ${changes.join(', ')}`;
    const spent = processorTime();
    let disk: Disk | undefined;
    try {
      disk = await openQcow2Image(store, nameFromText(name));
      opened++;
      const read = await readDisk(disk);
      await walkExtents(disk);
      if (read) {
        readWhole++;
        if (readWhole % compareEach === 0) {
          const difference = await differenceToQemu(folder, name, read);
          if (difference === undefined) alike++;
          else if (difference !== '') findings.push(`${story}: ${difference}`);
        }
      }
    } catch (error) {
      if (!(error instanceof StillError))
        findings.push(`${story}: ${error instanceof Error ? error.stack : error}`);
    } finally {
      await disk?.close();
    }
    const milliseconds = spent();
    if (milliseconds > mostMilliseconds) findings.push(`${story}: took ${Math.round(milliseconds)} ms`);
    const { arrayBuffers } = process.memoryUsage();
    if (arrayBuffers > mostBufferBytes) findings.push(`${story}: ${arrayBuffers} bytes of buffers are held`);
  }

  store.close();
  const descriptorsAfter = (await readdir('/proc/self/fd')).length;
  if (descriptorsAfter > descriptorsBefore)
    findings.push(`seed ${seed}: ${descriptorsAfter - descriptorsBefore} descriptors were left open`);
  return { opened, readWhole, alike, findings };
}

interface Original {
  readonly name: string;
  readonly bytes: Buffer;
  /** Ranges worth damaging: header, L1 table, L2 tables, what they lead to. */
  readonly places: ReadonlyArray<readonly [from: number, to: number]>;
}

async function makeOriginals(folder: string): Promise<Original[]> {
  const size = 3 << 20;
  const options: ReadonlyArray<readonly [name: string, options: string, compressed: boolean]> = [
    ['v3', 'compat=1.1,cluster_size=65536', false],
    ['v2', 'compat=0.10,cluster_size=4096', false],
    ['small clusters', 'cluster_size=512', false],
    ['subclusters', 'extended_l2=on,cluster_size=16384', false],
    ['deflate', 'cluster_size=16384', true],
    ['large deflate', 'cluster_size=1M', true],
    ['zstd', 'compression_type=zstd,cluster_size=32768', true],
    ['subclusters, zstd', 'extended_l2=on,compression_type=zstd,cluster_size=65536', true],
  ];
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'base.qcow2', `${size}`);
  await qemuIo(folder, 'base.qcow2', ...writes(size, 1));
  const originals: Original[] = [];
  for (const [index, [name, how, compressed]] of options.entries()) {
    const path = `original-${index}.qcow2`;
    const backing = ['-b', 'base.qcow2', '-F', 'qcow2'];
    await qemuImg(folder, 'create', '-q', '-f', 'qcow2', '-o', how, ...backing, path, `${size}`);
    await qemuIo(folder, path, ...writes(size, 10 + index));
    if (compressed) {
      await rm(join(folder, path));
      await qemuImg(folder, 'convert', '-q', '-c', '-O', 'qcow2', '-o', how, 'base.qcow2', path);
    }
    const bytes = await readFile(join(folder, path));
    originals.push({ name, bytes, places: placesOf(bytes) });
  }
  return originals;
}

function placesOf(bytes: Buffer): Array<readonly [number, number]> {
  const clusterSize = 2 ** bytes.readUInt32BE(20);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l1End = l1 + 8 * bytes.readUInt32BE(36);
  // The header twice: it is what most depends on.
  const places: Array<readonly [number, number]> = [
    [0, 112],
    [0, 112],
    [112, 512],
    [l1, l1End],
  ];
  for (let at = l1; at < l1End; at += 8) {
    const l2 = Number(bytes.readBigUInt64BE(at) & 0x00fffffffffffe00n);
    if (l2 === 0) continue;
    const used = Math.min(clusterSize, 1024);
    places.push([l2, l2 + used], [l2, l2 + used]);
    for (let entry = l2; entry < l2 + used; entry += 8) {
      const value = bytes.readBigUInt64BE(entry);
      const host = Number(value & 0x0000ffffffffffffn);
      if ((value & (1n << 62n)) !== 0n && host + 64 < bytes.length) places.push([host, host + 64]);
    }
  }
  return places;
}

/** Changes something and says what. */
function damage(bytes: Buffer, places: Original['places'], random: () => number): string {
  const [from, to] = places[random() % places.length] ?? [0, bytes.length];
  const at = Math.min(from + (random() % (to - from)), bytes.length - 1);
  const word = Math.min(at - (at % 8), bytes.length - 8);
  switch (random() % 6) {
    case 0:
      bytes[at] = random() % 256;
      return `byte ${at} = ${bytes[at]}`;
    case 1: {
      const value = BigInt.asUintN(64, [0n, -1n, 1n << 63n, (1n << 53n) - 1n, 1n << 32n][random() % 5] ?? 0n);
      bytes.writeBigUInt64BE(value, word);
      return `word ${word} = ${value}`;
    }
    case 2: {
      const value = (BigInt(random() % 4) << 62n) | BigInt(512 * (random() % (bytes.length / 256)));
      bytes.writeBigUInt64BE(value, word);
      return `word ${word} = ${value}`;
    }
    case 3: {
      const other = 8 * (random() % Math.floor(bytes.length / 8));
      bytes.copy(bytes, word, other, other + 8);
      return `word ${word} = that at ${other}`;
    }
    default: {
      const bit = random() % 8;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
      return `bit ${bit} of byte ${at} flipped`;
    }
  }
}

/** The disk's bytes, undefined where some can't be read or where they are too many. */
async function readDisk(disk: Disk): Promise<Buffer | undefined> {
  const step = disk.size > mostRead ? Math.floor(disk.size / 40) : chunk;
  const parts: Buffer[] = [];
  let good = disk.size <= mostRead;
  for (let at = 0; at < disk.size; at += step) {
    const part = Buffer.alloc(Math.min(chunk, disk.size - at));
    try {
      await disk.read(at, part);
    } catch (error) {
      if (!(error instanceof StillError)) throw error;
      good = false;
    }
    if (good) parts.push(part);
  }
  return good ? Buffer.concat(parts) : undefined;
}

async function walkExtents(disk: Disk): Promise<void> {
  for (let at = 0, answers = 0; at < disk.size && answers < 100; answers++) {
    for (const extent of await disk.extents(at, disk.size - at)) {
      if (extent.offset !== at || extent.length <= 0) throw new Error(`extents have a gap at ${at}`);
      at += extent.length;
    }
    if (at > disk.size) throw new Error('extents leave the disk');
  }
}

/** Undefined where QEMU reads the same, '' where it refuses the image, else where they differ. */
async function differenceToQemu(folder: string, name: string, read: Buffer): Promise<string | undefined> {
  try {
    await qemuImg(folder, 'convert', '-q', '-f', 'qcow2', '-O', 'raw', name, 'by-qemu.raw');
  } catch {
    return '';
  }
  const expected = await readFile(join(folder, 'by-qemu.raw'));
  // QEMU counts a disk in whole sectors.
  const length = Math.min(read.length, expected.length);
  if (Math.abs(read.length - expected.length) >= 512)
    return `QEMU reads ${expected.length} bytes, not ${read.length}`;
  for (let at = 0; at < length; at++) {
    if (read[at] !== expected[at]) return `QEMU reads ${expected[at]} at ${at}, not ${read[at]}`;
  }
  return undefined;
}

import { execFileSync } from 'node:child_process';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from '../../src/crc32.js';
import type { Disk } from '../../src/disks/disk.js';
import { StillError } from '../../src/errors.js';
import { nameFromText, nameToText } from '../../src/name.js';
import { findVolumes } from '../../src/volumes/find-volumes.js';
import { signatureOf } from '../../src/volumes/signature.js';
import { numbers } from '../corpus/qcow2-images.js';
import { bytesDisk } from '../src/archives/tar/file-disk.js';
import { physicalVolume, sealPhysicalVolume } from '../src/volumes/metadata-text.js';
import type { Fuzzing } from './fuzzing.js';
import { processorTime } from './processor-time.js';

export interface FuzzedVolumes {
  /** How many disks still showed more than themselves, and of how many volumes all could be read. */
  readonly withVolumes: number;
  readonly readWhole: number;
  /** What must never happen, one sentence each, with what makes it happen again. */
  readonly findings: readonly string[];
}

/** A computation that takes this long, of the processor's time, was made to. */
const mostMilliseconds = 3000;
const mostVolumes = 2000;
const mostProblems = 2000;
const signal = new AbortController().signal;

/** Damages partition tables and LVM metadata, and reads what is found then. */
export async function fuzzVolumes({ folder, seed, count }: Fuzzing): Promise<FuzzedVolumes> {
  const tables = await makeTables(folder);
  const random = numbers(seed);
  const findings: string[] = [];
  let withVolumes = 0;
  let readWhole = 0;
  for (let i = 0; i < count; i++) {
    const { name, bytes, changes } = i % 2 === 0 ? damagedTable(tables, random) : damagedMetadata(random);
    const story = `seed ${seed}, case ${i}: ${name} with ${changes.join(', ')}`;
    const spent = processorTime();
    try {
      const outcome = await look(bytesDisk(bytes), random);
      if (outcome.volumes > 1) withVolumes++;
      if (outcome.volumes > 1 && outcome.errors === 0) readWhole++;
      if (outcome.volumes > mostVolumes) findings.push(`${story}: ${outcome.volumes} volumes`);
      if (outcome.problems > mostProblems) findings.push(`${story}: ${outcome.problems} problems`);
    } catch (error) {
      findings.push(`${story}: ${error instanceof Error ? error.stack : error}`);
    }
    const milliseconds = spent();
    if (milliseconds > mostMilliseconds) findings.push(`${story}: took ${Math.round(milliseconds)} ms`);
  }
  return { withVolumes, readWhole, findings };
}

async function look(
  disk: Disk,
  random: () => number,
): Promise<{ volumes: number; problems: number; errors: number }> {
  let problems = 0;
  const volumes = await findVolumes([{ name: nameFromText('vda'), disk }], {
    signal,
    problem: () => problems++,
  });
  let errors = 0;
  for (const { path, disk: volume } of volumes.slice(0, 50)) {
    const told = path.map(nameToText);
    if (told.some((word) => word === '' || word === '.' || word === '..' || word.includes('/')))
      throw new Error(`the path ${JSON.stringify(told)} is shown`);
    if (!volume) {
      errors++;
      continue;
    }
    await signatureOf(volume, signal).catch(expected);
    for (let turn = 0; turn < 4; turn++) {
      const length = Math.min(volume.size, random() % 100_000);
      const offset = turn === 0 ? 0 : random() % Math.max(1, volume.size - length + 1);
      try {
        await volume.read(offset, Buffer.alloc(length), signal);
        let at = offset;
        for (const extent of await volume.extents(offset, length, signal)) {
          if (extent.offset !== at) throw new Error(`an extent at ${extent.offset}, not at ${at}`);
          at += extent.length;
        }
        if (at > offset + length || (length > 0 && at === offset)) throw new Error(`extents end at ${at}`);
      } catch (error) {
        expected(error);
        errors++;
      }
    }
  }
  return { volumes: volumes.length, problems, errors };
}

function expected(error: unknown): void {
  if (!(error instanceof StillError)) throw error;
}

interface Damaged {
  readonly name: string;
  readonly bytes: Buffer;
  readonly changes: readonly string[];
}

interface Table {
  readonly name: string;
  readonly bytes: Buffer;
  /** Where the table is, in bytes. */
  readonly places: ReadonlyArray<readonly [from: number, to: number]>;
}

const megabyte = 1 << 20;

async function makeTables(folder: string): Promise<Table[]> {
  const end = 16 * megabyte;
  const scripts: ReadonlyArray<readonly [string, string, Table['places']]> = [
    [
      'a GPT',
      'label: gpt\nsize=1MiB, name="one"\nsize=2MiB\nsize=3MiB\n',
      [
        [440, 604],
        [1024, 1536],
        [end - 512, end - 420],
        [end - 33 * 512, end - 32 * 512],
      ],
    ],
    [
      'an MBR',
      'label: dos\nsize=1MiB\nsize=1MiB\nsize=12MiB, type=5\nsize=1MiB\nsize=1MiB\nsize=1MiB\nsize=1MiB\n',
      [[440, 512], ...[3, 5, 7, 9].map((place) => [place * megabyte + 446, place * megabyte + 512] as const)],
    ],
  ];
  const tables: Table[] = [];
  for (const [name, script, places] of scripts) {
    const image = join(folder, 'table');
    await writeFile(image, '');
    await truncate(image, end);
    execFileSync('sfdisk', ['--quiet', image], { input: script, stdio: ['pipe', 'pipe', 'pipe'] });
    tables.push({ name, bytes: await readFile(image), places });
    await rm(image);
  }
  return tables;
}

function damagedTable(tables: readonly Table[], random: () => number): Damaged {
  const table = tables[random() % tables.length];
  if (!table) throw new Error('there are no tables to damage');
  // What lies between the tables does not matter, and a copy of it would take long.
  const bytes = Buffer.from(table.bytes);
  const changes: string[] = [];
  for (let left = 1 + (random() % 4); left > 0; left--) {
    const [from, to] = table.places[random() % table.places.length] ?? [0, 512];
    const at = from + (random() % (to - from));
    const value = [0, 1, 0xff, 0x7f, 0x05, 0xee, random() % 256][random() % 7] ?? 0;
    const length = [1, 1, 4, 8][random() % 4] ?? 1;
    bytes.fill(value, at, at + length);
    changes.push(`${length} bytes at ${at} = ${value}`);
  }
  if (table.name === 'a GPT' && random() % 2 === 0) {
    sealGpt(bytes);
    changes.push('checksums made good');
  }
  return { name: table.name, bytes, changes };
}

/** Makes the checksums of both copies good again, so that what they tell is believed. */
function sealGpt(bytes: Buffer): void {
  for (const header of [512, bytes.length - 512]) {
    const entries = Number(bytes.readBigUInt64LE(header + 72)) * 512;
    const length = bytes.readUInt32LE(header + 80) * bytes.readUInt32LE(header + 84);
    if (length > 0 && length < 4 * megabyte && entries + length <= bytes.length)
      bytes.writeUInt32LE(crc32(bytes.subarray(entries, entries + length)), header + 88);
    const headerBytes = bytes.readUInt32LE(header + 12);
    if (headerBytes > 512 || headerBytes < 20) continue;
    bytes.writeUInt32LE(0, header + 16);
    bytes.writeUInt32LE(crc32(bytes.subarray(header, header + headerBytes)), header + 16);
  }
}

const group = `vg {
id = "abcdef-ghij-klmn-opqr-stuv-wxyz-012345"
seqno = 7
status = ["RESIZEABLE", "READ"]
extent_size = 8
physical_volumes { pv0 { id = "abcdef-ghij-klmn-opqr-stuv-wxyz-012345" pe_start = 256 pe_count = 16 } }
logical_volumes {
linear { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 2 type = "striped" stripes = [ "pv0", 0 ] }
  segment2 { start_extent = 2 extent_count = 1 type = "striped" stripes = [ "pv0", 5 ] } }
striped { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 4 type = "striped" stripe_count = 2 stripe_size = 2
  stripes = [ "pv0", 6, "linear", 0 ] } }
mirror { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 2 type = "mirror" mirrors = [ "leg", 0, "pv0", 9 ] } }
leg { status = ["READ"] segment1 { start_extent = 0 extent_count = 2 type = "striped" stripes = [ "pv0", 11 ] } }
raid { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 2 type = "raid1" raids = [ "meta", "leg", "meta", "linear" ] } }
meta { status = ["READ"] segment1 { start_extent = 0 extent_count = 1 type = "striped" stripes = [ "pv0", 13 ] } }
origin { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 1 type = "zero" } }
cow { status = [] segment1 { start_extent = 0 extent_count = 1 type = "striped" stripes = [ "pv0", 14 ] } }
snapshot0 { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 1 type = "snapshot" origin = "origin" cow_store = "cow" } }
} }
`;

/** Words of the text that take each other's place. */
const words = [
  '0',
  '1',
  '-1',
  '9007199254740993',
  '4294967296',
  '"pv0"',
  '"linear"',
  '"raid"',
  '""',
  '"../.."',
];
words.push(
  '"raid1"',
  '"mirror"',
  '"striped"',
  '"thin"',
  '[',
  ']',
  '{',
  '}',
  '=',
  'vg',
  '"\\',
  '#',
  '[ ]',
  '1.5',
  '"snapshot"',
);

function damagedMetadata(random: () => number): Damaged {
  const changes: string[] = [];
  const parts = group.split(/([\w.]+|"[^"]*"|[[\]{}=])/);
  for (let left = random() % 4; left > 0; left--) {
    const at = random() % parts.length;
    const word = words[random() % words.length] ?? '';
    changes.push(`${JSON.stringify(parts[at])} (${at}) = ${word}`);
    parts[at] = word;
  }
  const bytes = physicalVolume(parts.join(''));
  if (random() % 3 === 0) {
    const [from, to] = [
      [512, 512 + 140],
      [4096, 4096 + 72],
      [4096 + 512, 4096 + 2048],
    ][random() % 3] ?? [512, 1024];
    const at = (from ?? 0) + (random() % ((to ?? 0) - (from ?? 0)));
    const value = [0, 1, 0xff, random() % 256][random() % 4] ?? 0;
    bytes.fill(value, at, at + ([1, 4, 8][random() % 3] ?? 1));
    changes.push(`bytes at ${at} = ${value}`);
    if (random() % 2 === 0) sealPhysicalVolume(bytes);
  }
  // The superblock of a RAID, for once and again.
  if (random() % 2 === 0) bytes.write('DmRd', 131_072 + 13 * 4096);
  const length = random() % 20 === 0 ? random() % bytes.length : bytes.length;
  if (length < bytes.length) changes.push(`cut to ${length}`);
  return { name: 'LVM metadata', bytes: bytes.subarray(0, length), changes };
}

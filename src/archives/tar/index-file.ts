import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { endianness } from 'node:os';
import { fields, items, text, unexpected, whole } from '../../port/fields.js';
import type { IndexParts } from './index-builder.js';
import { columnNames, emptyColumns, type IndexColumns, sameColumn, setColumn } from './index-columns.js';

/**
 * An index in a file, so that an archive need not be gone through again: a line that says what it is, a line of JSON
 * (`Head`), the columns one after the other as they lie in memory, and 32 bytes: SHA-256 of all before.
 */
const firstLine = `stillfs tar index 3 ${endianness()}\n`;
const checksumBytes = 32;
const mostHeadBytes = 1 << 20;
/** Bytes that are read, hashed and written at a time. */
const step = 8 << 20;

interface Head {
  /** What the archive was when the index was made. */
  readonly identity: string;
  readonly seed: number;
  readonly problems: readonly string[];
  /** Bytes of the archive; of what it holds where it is compressed. */
  readonly archiveBytes: number;
  /** Rows of each column. */
  readonly rows: readonly number[];
}

/** What is kept of an archive. */
export interface KeptIndex extends IndexParts {
  readonly problems: readonly string[];
  readonly archiveBytes: number;
}

/** Writes an index. The file is new, and is put in its place by the caller. */
export async function writeIndex(
  file: FileHandle,
  identity: string,
  kept: KeptIndex,
  signal: AbortSignal,
): Promise<void> {
  const { columns, seed, problems, archiveBytes } = kept;
  const rows = columnNames.map((name) => columns[name].length);
  const head: Head = { identity, seed, problems, archiveBytes, rows };
  const hash = createHash('sha256');
  const write = async (bytes: Uint8Array): Promise<void> => {
    for (let at = 0; at < bytes.length; at += step) {
      signal.throwIfAborted();
      const part = bytes.subarray(at, at + step);
      hash.update(part);
      await writeAll(file, part);
    }
  };
  await write(Buffer.from(firstLine));
  await write(Buffer.from(`${JSON.stringify(head)}\n`));
  for (const name of columnNames) await write(bytesOf(columns[name]));
  await writeAll(file, hash.digest());
}

/** Reads an index; undefined: the file holds none of this archive, or is damaged. Errors: what reading may meet. */
export async function readIndex(
  path: string,
  identity: string,
  signal: AbortSignal,
): Promise<KeptIndex | undefined> {
  signal.throwIfAborted();
  const file = await open(path, 'r');
  try {
    return await read(file, identity, signal);
  } finally {
    await file.close();
  }
}

async function read(file: FileHandle, identity: string, signal: AbortSignal): Promise<KeptIndex | undefined> {
  const { size } = await file.stat();
  const start = Buffer.alloc(Math.min(size, mostHeadBytes));
  if (!(await readAll(file, 0, start, signal))) return undefined;
  const headEnd = start.indexOf('\n', firstLine.length) + 1;
  if (!start.toString('latin1').startsWith(firstLine) || headEnd === 0) return undefined;
  const head = headOf(start.subarray(firstLine.length, headEnd - 1));
  if (!head || head.identity !== identity) return undefined;

  const columns = emptyColumns();
  const hash = createHash('sha256').update(start.subarray(0, headEnd));
  let at = headEnd;
  for (const [index, name] of columnNames.entries()) {
    const rows = head.rows[index] ?? 0;
    if (rows * columns[name].BYTES_PER_ELEMENT > size - at) return undefined;
    setColumn(columns, name, rows);
    const bytes = bytesOf(columns[name]);
    if (!(await readAll(file, at, bytes, signal, (part) => hash.update(part)))) return undefined;
    at += bytes.length;
  }
  const checksum = Buffer.alloc(checksumBytes);
  if (at + checksumBytes !== size || !(await readAll(file, at, checksum, signal))) return undefined;
  if (!hash.digest().equals(checksum)) return undefined;
  return {
    columns,
    seed: head.seed,
    problems: head.problems,
    archiveBytes: head.archiveBytes,
  };
}

/** An index that came through a port. */
export function parseIndex(value: unknown): KeptIndex {
  const from = fields(value);
  const columns = emptyColumns();
  const given = fields(from.columns);
  for (const name of columnNames) takeColumn(columns, name, given[name]);
  const problems = items(from.problems, 'problems').map((sentence) => text(sentence, 'problem'));
  const archiveBytes = whole(from.archiveBytes, 'archiveBytes');
  return { columns, seed: whole(from.seed, 'seed'), problems, archiveBytes };
}

function takeColumn<N extends keyof IndexColumns>(columns: IndexColumns, name: N, value: unknown): void {
  columns[name] = sameColumn<IndexColumns[N]>(columns[name], value) ?? unexpected(name);
}

function headOf(bytes: Buffer): Head | undefined {
  let head: unknown;
  try {
    head = JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
  return isHead(head) ? head : undefined;
}

function isHead(value: unknown): value is Head {
  if (typeof value !== 'object' || value === null) return false;
  if (!('identity' in value && 'seed' in value && 'problems' in value)) return false;
  if (!('archiveBytes' in value && 'rows' in value)) return false;
  return (
    typeof value.identity === 'string' &&
    typeof value.seed === 'number' &&
    isCount(value.archiveBytes) &&
    Array.isArray(value.problems) &&
    value.problems.every((sentence) => typeof sentence === 'string') &&
    Array.isArray(value.rows) &&
    value.rows.length === columnNames.length &&
    value.rows.every(isCount)
  );
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function bytesOf(column: IndexColumns[keyof IndexColumns]): Uint8Array {
  return new Uint8Array(column.buffer, column.byteOffset, column.byteLength);
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}

/** False: the file ends before. */
async function readAll(
  file: FileHandle,
  from: number,
  target: Uint8Array,
  signal: AbortSignal,
  each?: (part: Uint8Array) => void,
): Promise<boolean> {
  for (let done = 0; done < target.length; ) {
    signal.throwIfAborted();
    const part = target.subarray(done, done + step);
    const { bytesRead } = await file.read(part, 0, part.length, from + done);
    if (bytesRead === 0) return false;
    each?.(part.subarray(0, bytesRead));
    done += bytesRead;
  }
  return true;
}

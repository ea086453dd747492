import { hasCode, messageOf } from '../../errors.js';
import { type Problems, shownPath } from '../../problems.js';
import type { Time } from '../../time.js';
import type { FileType } from '../../tree/attributes.js';
import { MapReader, mapInBlock, mapInHeader, oldSparseSize, paxSparse } from './gnu-sparse.js';
import { blockBytes, Header, kindOfBlock, wholeBlocks } from './header.js';
import type { HeaderPlace, Member, SparseMap } from './member.js';
import { type PaxFields, readPaxFields } from './pax.js';
import type { Window, Windows } from './windows.js';

/** What takes the members of an archive. */
export interface MemberSink {
  add(member: Member): void;
  /** True: it takes no more. */
  readonly full: boolean;
}

/** The largest extended header, and the longest name in GNU's way, that are read. */
const largestExtension = 8 << 20;
/** Blocks that may go on with the map of one sparse file, in the old GNU format (21 pieces each) and in 1.0. */
const mostMapBlocks = 1 << 17;
const noBytes = Buffer.alloc(0);
const noDevice = { major: 0, minor: 0 };

/**
 * Goes through the headers of an archive, in one pass and without reading what lies between them, up to its end mark
 * (two blocks of zeros), as GNU tar does. What is damaged is left out and told; headers are looked for after it.
 */
export class MemberScan {
  readonly #windows: Windows;
  readonly #sink: MemberSink;
  readonly #problems: Problems;
  #window: Window | undefined;
  /** The last member whose bytes go on behind what was in memory when it was met. */
  #beyond: { readonly path: string; readonly end: number } | undefined;
  /** From other headers, for the next member. */
  #longName: Buffer | undefined;
  #longTarget: Buffer | undefined;
  #own: PaxFields | undefined;
  #ownHeader: HeaderPlace | undefined;
  #global: PaxFields = {};
  #hasGlobal = false;
  #globalHeader: HeaderPlace | undefined;

  constructor(windows: Windows, sink: MemberSink, problems: Problems) {
    this.#windows = windows;
    this.#sink = sink;
    this.#problems = problems;
  }

  /** Tells how far the archive goes: where its end mark begins, or where it ends without one. */
  async run(): Promise<number> {
    let at = 0;
    let damaged = 0;
    for (;;) {
      if (!this.#holds(at)) {
        this.#window = await this.#windows.at(at);
        if (!this.#window) break;
      }
      const window = this.#window;
      if (!window) break;
      const place = at - window.from;
      const kind = kindOfBlock(window.bytes, window.words, place);
      if (kind === 'damaged') {
        if (damaged === 0 && at === 0)
          this.#problems.add('The archive does not begin with the header of a tar archive.');
        damaged++;
        at += blockBytes;
        continue;
      }
      if (damaged > 0) {
        this.#problems.add(
          `${damaged} blocks of ${blockBytes} bytes before byte ${at} are no headers: a member may be missing there.`,
        );
        damaged = 0;
      }
      if (kind === 'zeros') {
        if (!(await this.#isEnd(at)))
          this.#problems.add(`The archive ends with a lone block of zeros at byte ${at}.`);
        return at;
      }
      if (this.#sink.full) {
        this.#problems.add('The archive has more files than can be shown: those at its end are left out.');
        return at;
      }
      const next = this.#headerNow(window, place, at) ?? (await this.#headerLater(window, place, at));
      at = next;
    }
    if (damaged > 0)
      this.#problems.add(`The last ${damaged} blocks of ${blockBytes} bytes of the archive are no headers.`);
    else if (at > 0) this.#problems.add('The archive ends without its end mark: it may have been cut short.');
    return at;
  }

  /** To be called when it is known how many bytes the archive holds: tells of a member that goes on behind them. */
  end(size: number): void {
    const { path, end } = this.#beyond ?? { path: '', end: 0 };
    if (end > size)
      this.#problems.add(`${path} is cut short: the archive ends ${end - size} bytes before the file does.`);
  }

  #holds(at: number): boolean {
    const window = this.#window;
    return window !== undefined && at >= window.from && at + blockBytes <= window.to;
  }

  async #isEnd(at: number): Promise<boolean> {
    const second = await this.#block(at + blockBytes);
    return second === undefined || second.every((byte) => byte === 0);
  }

  /** A plain member, or an extended header that lies in the window. Undefined: more has to be read for it. */
  #headerNow(window: Window, place: number, at: number): number | undefined {
    const header = new Header(window.bytes, place);
    const { typeflag } = header;
    const data = at + blockBytes;
    if (isExtension(typeflag)) {
      const { size } = header;
      if (!(size <= largestExtension) || data + wholeBlocks(size) > window.to) return undefined;
      const from = data - window.from;
      this.#extension(typeflag, window.bytes.subarray(from, from + size), { at: data, size });
      return data + wholeBlocks(size);
    }
    if (typeflag === 'S' || this.#own?.sparse) return undefined;
    return this.#member(header, at, undefined);
  }

  async #headerLater(window: Window, place: number, at: number): Promise<number> {
    // The window's bytes are void as soon as another one is asked for.
    const header = new Header(Buffer.from(window.bytes.subarray(place, place + blockBytes)), 0);
    const { typeflag } = header;
    const data = at + blockBytes;
    if (!isExtension(typeflag)) return this.#member(header, at, await this.#sparse(header, data));
    const { size } = header;
    if (Number.isNaN(size)) {
      this.#problems.add(
        `The extended header at byte ${at} has no size: the next member's name may be wrong.`,
      );
      return data;
    }
    if (size > largestExtension) {
      this.#problems.add(`The extended header at byte ${at} has ${size} bytes: it is not read.`);
      return data + wholeBlocks(size);
    }
    const bytes = await this.#bytes(data, size);
    if (bytes) this.#extension(typeflag, bytes, { at: data, size });
    return data + wholeBlocks(size);
  }

  #extension(typeflag: string, bytes: Buffer, place: HeaderPlace): void {
    if (typeflag === 'L') this.#longName = untilNul(bytes);
    else if (typeflag === 'K') this.#longTarget = untilNul(bytes);
    else if (typeflag === 'g') {
      this.#hasGlobal = true;
      this.#readPax(bytes, this.#global, place);
      this.#globalHeader = this.#global.attributes ? place : undefined;
      delete this.#global.sparse;
    } else {
      this.#own ??= {};
      this.#readPax(bytes, this.#own, place);
      this.#ownHeader = place;
    }
  }

  #readPax(bytes: Buffer, fields: PaxFields, { at }: HeaderPlace): void {
    try {
      readPaxFields(bytes, fields);
    } catch (error) {
      if (!hasCode(error, 'EIO') && !hasCode(error, 'EINVAL')) throw error;
      this.#problems.add(`The extended header at byte ${at} is damaged: ${messageOf(error)}.`);
    }
  }

  /** Gives the member to the sink and tells where the next header is. */
  #member(header: Header, at: number, sparse: Sparse | undefined): number {
    const { format, typeflag } = header;
    const own = this.#own;
    const fields = !own ? this.#global : this.#hasGlobal ? { ...this.#global, ...own } : own;
    const path = sparse?.name ?? fields.path ?? this.#longName ?? header.path(format);
    const hasTarget = typeflag === '1' || typeflag === '2';
    const target = hasTarget ? (fields.linkpath ?? this.#longTarget ?? header.linkname) : noBytes;
    const ownHeader = own?.attributes ? this.#ownHeader : undefined;
    const globalHeader = this.#globalHeader;
    this.#own = undefined;
    this.#longName = undefined;
    this.#longTarget = undefined;

    const data = at + blockBytes;
    const archived = typeflag === '1' ? 0 : (fields.size ?? header.size);
    const next = data + wholeBlocks(archived);
    if (!Number.isSafeInteger(next)) {
      this.#problems.add(`${shownPath(path)} is left out: its header tells no size.`);
      return data;
    }
    const type = typeOf(typeflag, path);
    if (type === 'none') return next;
    if (type === undefined || fields.continued) {
      this.#problems.add(`${shownPath(path)} is left out: ${whyNot(typeflag, fields.continued === true)}.`);
      return next;
    }
    if (path.length === 0) {
      this.#problems.add(`A member at byte ${at} is left out: it has no name.`);
      return next;
    }
    const device =
      type === 'block' || type === 'character' ? { major: header.major, minor: header.minor } : noDevice;
    if (!(device.major < 4096 && device.minor < 1 << 20)) {
      this.#problems.add(
        `${shownPath(path)} is left out: Linux has no device ${device.major}, ${device.minor}.`,
      );
      return next;
    }
    if (sparse?.problem !== undefined)
      this.#problems.add(`${shownPath(path)} can't be read: ${sparse.problem}.`);
    const { to = 0 } = this.#window ?? {};
    if (next > to) this.#beyond = { path: shownPath(path), end: data + archived };
    const modified = fields.modified ?? this.#time(header.modified, path);
    const gnu = format === 'gnu';
    this.#sink.add({
      type,
      path,
      target,
      permissions: this.#whole(header.mode, 'mode', path) & 0o7777,
      uid: this.#id(fields.uid ?? header.uid, path),
      gid: this.#id(fields.gid ?? header.gid, path),
      size: type === 'file' ? (sparse?.size ?? archived) : 0,
      at: sparse?.at ?? data,
      modified,
      accessed: fields.accessed ?? (gnu ? laterTime(header.accessed, modified) : modified),
      changed: fields.changed ?? (gnu ? laterTime(header.changed, modified) : modified),
      device,
      segments: sparse?.map,
      ownHeader,
      globalHeader,
      unreadable: sparse?.problem !== undefined,
    });
    return Math.max(next, sparse?.next ?? 0);
  }

  /** What is special about a sparse file. Undefined: it is none. */
  async #sparse(header: Header, data: number): Promise<Sparse | undefined> {
    if (header.typeflag === 'S') return this.#oldSparse(header, data);
    const fields = this.#own?.sparse;
    if (!fields) return undefined;
    const known = paxSparse(fields);
    const archived = this.#own?.size ?? this.#global.size ?? header.size;
    const plain = { size: archived, at: data, name: undefined, next: undefined, map: undefined };
    if (!known) return { ...plain, problem: 'its sparse format is none that is known' };
    const { size, name, map } = known;
    if (Number.isNaN(size)) return { ...plain, name, problem: 'its sparse map tells no size' };
    if (map) return checked({ size, at: data, name, next: undefined, map }, archived);
    const reader = new MapReader();
    let at = data;
    let complete: boolean | undefined = false;
    while (complete === false) {
      const inMap = at < data + archived && at - data < mostMapBlocks * blockBytes;
      const block = inMap ? await this.#block(at) : undefined;
      complete = block && reader.take(block);
      at += blockBytes;
    }
    if (complete === undefined) return { ...plain, size, name, problem: "its sparse map can't be read" };
    return checked({ size, at, name, next: undefined, map: reader.map }, archived - (at - data));
  }

  async #oldSparse(header: Header, data: number): Promise<Sparse> {
    const size = oldSparseSize(header.bytes, header.at);
    const map: number[] = [];
    let part = mapInHeader(header.bytes, header.at);
    let at = data;
    for (let blocks = 0; ; blocks++) {
      map.push(...part.map);
      const block = part.more && blocks < mostMapBlocks ? await this.#block(at) : undefined;
      if (!part.more) break;
      if (!block) {
        const problem = "its sparse map can't be read";
        return { size: header.size, at, name: undefined, next: at, map: undefined, problem };
      }
      part = mapInBlock(block);
      at += blockBytes;
    }
    const next = at + wholeBlocks(header.size);
    if (Number.isNaN(size))
      return {
        size: header.size,
        at,
        name: undefined,
        next,
        map: undefined,
        problem: 'its sparse map tells no size',
      };
    return checked({ size, at, name: undefined, next, map }, header.size);
  }

  #whole(value: number, what: string, path: Buffer): number {
    if (Number.isInteger(value)) return value;
    this.#problems.add(`${shownPath(path)} has no ${what}: 0 is shown.`);
    return 0;
  }

  #id(value: number, path: Buffer): number {
    // Some tars write -2 for nobody.
    if (value >= -(2 ** 31) && value < 2 ** 32) return value >>> 0;
    return this.#whole(Number.NaN, 'user or group id that Linux knows', path);
  }

  #time(seconds: number, path: Buffer): Time {
    return { seconds: this.#whole(seconds, 'time', path), nanoseconds: 0 };
  }

  /** A block, as long as no other is asked for; undefined: the archive has none there. */
  async #block(at: number): Promise<Buffer | undefined> {
    if (!this.#holds(at)) {
      const window = await this.#windows.at(at);
      if (!window) return undefined;
      this.#window = window;
    }
    const window = this.#window;
    if (!window) return undefined;
    return window.bytes.subarray(at - window.from, at - window.from + blockBytes);
  }

  /** Bytes from the beginning of a block on; undefined where the archive ends before them. */
  async #bytes(at: number, length: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    for (let read = 0; read < length; read += blockBytes) {
      const block = await this.#block(at + read);
      if (!block) return undefined;
      parts.push(Buffer.from(block.subarray(0, Math.min(blockBytes, length - read))));
    }
    return Buffer.concat(parts);
  }
}

interface Sparse {
  /** Bytes, holes included. */
  readonly size: number;
  /** Where the data begin. */
  readonly at: number;
  readonly name: Buffer | undefined;
  /** Where the next header is, if it is later than the header's size tells. */
  readonly next: number | undefined;
  readonly map: SparseMap | undefined;
  /** Why the file can't be read. */
  readonly problem?: string;
}

/** The pieces of a map have to be what was archived. */
function checked(sparse: Sparse, archived: number): Sparse {
  let bytes = 0;
  for (let at = 1; at < (sparse.map?.length ?? 0); at += 2) bytes += sparse.map?.[at] ?? Number.NaN;
  if (bytes === archived) return sparse;
  return {
    ...sparse,
    map: undefined,
    problem: `its sparse map tells of ${bytes} bytes, the header of ${archived}`,
  };
}

function isExtension(typeflag: string): boolean {
  return typeflag === 'x' || typeflag === 'X' || typeflag === 'g' || typeflag === 'L' || typeflag === 'K';
}

/** The type of a member; `none`: it stands for no file; undefined: it can't be shown. */
function typeOf(typeflag: string, path: Buffer): FileType | 'link' | 'none' | undefined {
  switch (typeflag) {
    case '0':
    case '\0':
    case '7':
    case 'S':
      // Before there were types, a directory was told by its slash.
      return path[path.length - 1] === 0x2f && typeflag !== 'S' ? 'directory' : 'file';
    case '1':
      return 'link';
    case '2':
      return 'symlink';
    case '3':
      return 'character';
    case '4':
      return 'block';
    case '5':
    case 'D':
      return 'directory';
    case '6':
      return 'fifo';
    case 'V':
      return 'none';
    default:
      return undefined;
  }
}

function whyNot(typeflag: string, continued: boolean): string {
  if (typeflag === 'M' || continued)
    return 'it goes on from another volume; put the volumes together with tar --multi-volume first';
  return `its type ${JSON.stringify(typeflag)} is none that is known`;
}

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end));
}

/** GNU's header has these times only in incremental archives. */
function laterTime(seconds: number, otherwise: Time): Time {
  return seconds > 0 ? { seconds, nanoseconds: 0 } : otherwise;
}

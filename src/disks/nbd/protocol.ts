/**
 * The NBD protocol: the one place where its bytes are put together and taken apart. All numbers are big-endian.
 * Source: doc/proto.md of the NetworkBlockDevice project; extended headers from its branch extension-ext-header.
 */
import { StillError } from '../../errors.js';

export const handshakeMagic = 0x4e42444d41474943n; // NBDMAGIC
export const optionMagic = 0x49484156454f5054n; // IHAVEOPT
const optionReplyMagic = 0x3e889045565a9n;
const requestMagic = 0x25609513;
const extendedRequestMagic = 0x21e41c71;
export const simpleReplyMagic = 0x67446698;
export const structuredReplyMagic = 0x668e33ef;
export const extendedReplyMagic = 0x6e8a278c;

export const HandshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const Option = {
  abort: 2,
  go: 7,
  structuredReply: 8,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const;

const optionError = 0x8000_0000;
export const OptionReply = {
  ack: 1,
  info: 3,
  metaContext: 4,
  unsupported: optionError + 1,
  policy: optionError + 2,
  tlsRequired: optionError + 5,
  unknown: optionError + 6,
  shutdown: optionError + 7,
} as const;

export const Info = { export: 0, blockSize: 3 } as const;

export const ExportFlag = {
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  canMultiConn: 1 << 8,
} as const;

export const Command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

/** `payload`: extended headers alone; the length is that of what follows the request. */
export const CommandFlag = { fua: 1 << 0, noHole: 1 << 1, payload: 1 << 5 } as const;

export const Chunk = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  blockStatusExtended: 6,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;
export const chunkIsError = (type: number): boolean => (type & 0x8000) !== 0;
export const chunkDone = 1;

export const requestBytes = 28;
export const simpleReplyRest = 12;
export const structuredReplyRest = 16;
export const extendedReplyRest = 28;
export const optionReplyBytes = 20;
/** Of the server's words, in bytes. */
const mostWords = 1024;

/** A request of the transmission phase, as its header says it. */
export interface SentRequest {
  readonly type: number;
  /** CommandFlag's bits. */
  readonly flags: number;
  /** Comes back in the reply. */
  readonly cookie: number;
  readonly offset: number;
  /** Bytes: below 2^32 unless headers are extended. */
  readonly length: number;
}

export function encodeRequest(request: SentRequest, extended: boolean): Buffer {
  const bytes = Buffer.alloc(extended ? requestBytes + 4 : requestBytes);
  bytes.writeUInt32BE(extended ? extendedRequestMagic : requestMagic, 0);
  bytes.writeUInt16BE(request.flags, 4);
  bytes.writeUInt16BE(request.type, 6);
  bytes.writeBigUInt64BE(BigInt(request.cookie), 8);
  bytes.writeBigUInt64BE(BigInt(request.offset), 16);
  if (extended) bytes.writeBigUInt64BE(BigInt(request.length), 24);
  else bytes.writeUInt32BE(request.length, 24);
  return bytes;
}

/** A request as a server takes it. */
export interface ReceivedRequest {
  readonly type: number;
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
}

export function parseRequest(bytes: Buffer): ReceivedRequest {
  if (bytes.readUInt32BE(0) !== requestMagic) throw broken('a request begins with something else');
  return {
    type: bytes.readUInt16BE(6),
    cookie: bytes.readBigUInt64BE(8),
    offset: safe(bytes.readBigUInt64BE(16), 'an offset'),
    length: bytes.readUInt32BE(24),
  };
}

export function encodeSimpleReply(cookie: bigint, error: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(simpleReplyMagic, 0);
  bytes.writeUInt32BE(error, 4);
  bytes.writeBigUInt64BE(cookie, 8);
  return bytes;
}

/** What follows the magic of a simple reply. */
export const parseSimpleReply = (bytes: Buffer): { error: number; cookie: number } => ({
  error: bytes.readUInt32BE(0),
  cookie: safe(bytes.readBigUInt64BE(4), 'a cookie'),
});

/** What follows the magic of a structured or extended reply's chunk. */
export interface ChunkHeader {
  readonly done: boolean;
  readonly type: number;
  readonly cookie: number;
  /** The request's, where headers are extended. */
  readonly offset: number | undefined;
  /** Bytes of payload. */
  readonly length: number;
}

export const parseChunk = (bytes: Buffer): ChunkHeader => ({
  done: (bytes.readUInt16BE(0) & chunkDone) !== 0,
  type: bytes.readUInt16BE(2),
  cookie: safe(bytes.readBigUInt64BE(4), 'a cookie'),
  offset: undefined,
  length: bytes.readUInt32BE(12),
});

export const parseExtendedChunk = (bytes: Buffer): ChunkHeader => ({
  done: (bytes.readUInt16BE(0) & chunkDone) !== 0,
  type: bytes.readUInt16BE(2),
  cookie: safe(bytes.readBigUInt64BE(4), 'a cookie'),
  offset: safe(bytes.readBigUInt64BE(12), 'an offset'),
  length: safe(bytes.readBigUInt64BE(20), 'the length of a payload'),
});

/** The 64-bit offset that data, hole and offset-error chunks carry. */
export const parseOffset = (bytes: Buffer, at = 0): number => safe(bytes.readBigUInt64BE(at), 'an offset');

/** Payload of an error chunk: NBD's error number, the server's own words, and where it happened, if it says so. */
export function parseErrorChunk(
  type: number,
  bytes: Buffer,
): { error: number; said: string; offset?: number } {
  if (bytes.length < 6) throw broken(`an error of ${bytes.length} bytes`);
  const error = bytes.readUInt32BE(0);
  const end = 6 + bytes.readUInt16BE(4);
  const hasOffset = type === Chunk.errorOffset;
  if (end + (hasOffset ? 8 : 0) > bytes.length) throw broken('an error whose words leave it');
  if (error === 0) throw broken('an error that is none');
  const said = printable(bytes.subarray(6, end));
  return hasOffset ? { error, said, offset: parseOffset(bytes, end) } : { error, said };
}

/** A run of equal status: bytes, and flags whose meaning is the context's. */
export interface StatusRun {
  readonly length: number;
  readonly flags: number;
}

/** Payload of a block status chunk. EIO where there is no run, or one of no length. */
export function parseBlockStatus(bytes: Buffer): { context: number; runs: StatusRun[] } {
  if (bytes.length < 12 || (bytes.length - 4) % 8 !== 0)
    throw broken(`block status of ${bytes.length} bytes`);
  const runs = Array.from({ length: (bytes.length - 4) / 8 }, (_, row) =>
    run(bytes.readUInt32BE(4 + row * 8), bytes.readUInt32BE(8 + row * 8)),
  );
  return { context: bytes.readUInt32BE(0), runs };
}

/** The same where headers are extended. Of the 64 flags the lower 32 are told: no context that is asked for has more. */
export function parseExtendedBlockStatus(bytes: Buffer): { context: number; runs: StatusRun[] } {
  if (bytes.length < 24 || bytes.length !== 8 + 16 * bytes.readUInt32BE(4))
    throw broken(`block status of ${bytes.length} bytes`);
  const runs = Array.from({ length: (bytes.length - 8) / 16 }, (_, row) =>
    run(safe(bytes.readBigUInt64BE(8 + row * 16), 'the length of a run'), bytes.readUInt32BE(20 + row * 16)),
  );
  return { context: bytes.readUInt32BE(0), runs };
}

function run(length: number, flags: number): StatusRun {
  if (length === 0) throw broken('block status of 0 bytes of the disk');
  return { length, flags };
}

/** What the server says for people, without what could play tricks on a terminal or a log. */
export function printable(bytes: Buffer): string {
  return bytes
    .subarray(0, mostWords)
    .toString('utf8')
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim();
}

export function encodeOption(option: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(16);
  header.writeBigUInt64BE(optionMagic, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

function lengthAndText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length, 0);
  return Buffer.concat([length, bytes]);
}

/** The data of NBD_OPT_GO: the export, and that its block sizes are wanted. */
export function goData(exportName: string): Buffer {
  const wanted = Buffer.alloc(4);
  wanted.writeUInt16BE(1, 0);
  wanted.writeUInt16BE(Info.blockSize, 2);
  return Buffer.concat([lengthAndText(exportName), wanted]);
}

/** The data of NBD_OPT_SET_META_CONTEXT. */
export function metaContextData(exportName: string, contexts: readonly string[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(contexts.length, 0);
  return Buffer.concat([lengthAndText(exportName), count, ...contexts.map(lengthAndText)]);
}

export interface OptionReplyHeader {
  readonly option: number;
  readonly type: number;
  /** Bytes of data. */
  readonly length: number;
}

export function parseOptionReply(bytes: Buffer): OptionReplyHeader {
  if (bytes.readBigUInt64BE(0) !== optionReplyMagic)
    throw broken('a reply to an option begins with something else');
  return { option: bytes.readUInt32BE(8), type: bytes.readUInt32BE(12), length: bytes.readUInt32BE(16) };
}

export function encodeOptionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(optionReplyBytes);
  header.writeBigUInt64BE(optionReplyMagic, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(data.length, 16);
  return Buffer.concat([header, data]);
}

export const optionFailed = (type: number): boolean => type >= optionError;

/** NBD_INFO_EXPORT: the size in bytes and the transmission flags. */
export const parseExportInfo = (data: Buffer): { size: number; flags: number } => ({
  size: safe(data.readBigUInt64BE(2), 'the size of the export'),
  flags: data.readUInt16BE(10),
});

/** NBD_INFO_BLOCK_SIZE, in bytes. */
export const parseBlockSizes = (data: Buffer): { minimum: number; maximum: number } => ({
  minimum: data.readUInt32BE(2),
  maximum: data.readUInt32BE(10),
});

/** A number of 64 bits that is to be below 2^53. */
function safe(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(`${what} is ${value}, beyond 2^53`);
  return Number(value);
}

/** The error for a server that does not keep to the protocol. */
export function broken(what: string): StillError {
  return new StillError('EIO', `the NBD server does not keep to the protocol: ${what}`);
}

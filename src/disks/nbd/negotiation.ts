import { StillError } from '../../errors.js';
import {
  broken,
  encodeOption,
  goData,
  HandshakeFlag,
  handshakeMagic,
  Info,
  metaContextData,
  Option,
  OptionReply,
  optionFailed,
  optionMagic,
  optionReplyBytes,
  parseBlockSizes,
  parseExportInfo,
  parseOptionReply,
  printable,
} from './protocol.js';
import type { Wire } from './wire.js';

/** What the two sides agreed on. */
export interface Export {
  /** Bytes. */
  readonly size: number;
  readonly flags: number;
  /** Offsets and lengths must be multiples of this many bytes. */
  readonly minimumBlock: number;
  /** The longest request, in bytes. */
  readonly maximumBlock: number;
  /** The number that stands for each agreed meta context, by its name. */
  readonly contexts: ReadonlyMap<string, number>;
  /** Whether requests and replies have headers with 64-bit lengths. */
  readonly extended: boolean;
}

/** No option's reply is longer than names and messages may be (4096 bytes each). */
const longestReply = 16 * 1024;
const mostReplies = 64;
/** Of an export or a meta context, in bytes (proto.md, "Conventions"). */
const longestName = 4096;
/** What may be asked for where the server does not say (the protocol's own default). */
const defaultMaximum = 32 * 1024 * 1024;

/** Fixed newstyle negotiation, with structured or extended replies and those meta contexts that the server has. */
export async function negotiate(
  wire: Wire,
  exportName: string,
  contexts: readonly string[],
): Promise<Export> {
  for (const name of [exportName, ...contexts]) {
    if (Buffer.byteLength(name) > longestName)
      throw new StillError(
        'EINVAL',
        `a name of more than ${longestName} bytes can't be said to an NBD server`,
      );
  }
  const greeting = await wire.inbox.read(18);
  if (greeting.readBigUInt64BE(0) !== handshakeMagic || greeting.readBigUInt64BE(8) !== optionMagic) {
    throw broken('its greeting is not that of a newstyle server');
  }
  const both = greeting.readUInt16BE(16) & (HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes);
  if ((both & HandshakeFlag.fixedNewstyle) === 0) throw broken('it speaks no fixed newstyle');
  const flags = Buffer.alloc(4);
  flags.writeUInt32BE(both, 0);
  wire.send(flags);

  const extended = (await ask(wire, Option.extendedHeaders)).refused === undefined;
  // Not for holes alone: of a snapshot, bytes in one piece (a simple reply, or a read with DF) are wrong in QEMU 7.2 where what the guest
  // has overwritten meets what it has not.
  if (!extended && (await ask(wire, Option.structuredReply)).refused !== undefined)
    throw new StillError('EIO', 'the NBD server gives no structured replies; a newer one is needed');
  const agreed = contexts.length === 0 ? new Map() : await agree(wire, exportName, contexts);
  const { refused, replies, said } = await ask(wire, Option.go, goData(exportName));
  if (refused !== undefined) throw noExport(exportName, refused, said);
  return { ...sizes(replies), contexts: agreed, extended };
}

/** Those of the contexts that the server has, and their numbers. */
async function agree(
  wire: Wire,
  exportName: string,
  contexts: readonly string[],
): Promise<Map<string, number>> {
  const agreed = new Map<string, number>();
  const { refused, replies } = await ask(wire, Option.setMetaContext, metaContextData(exportName, contexts));
  if (refused !== undefined) return agreed;
  for (const { type, data } of replies) {
    if (type !== OptionReply.metaContext || data.length < 4) throw broken('a meta context without a number');
    const name = data.subarray(4).toString('utf8');
    if (!contexts.includes(name)) throw broken('a meta context that nobody asked for');
    agreed.set(name, data.readUInt32BE(0));
  }
  if (new Set(agreed.values()).size < replies.length) throw broken('two meta contexts of one name or number');
  return agreed;
}

function noExport(exportName: string, reply: number, said: string): StillError {
  const words = said === '' ? '' : `: ${said}`;
  if (reply === OptionReply.unknown)
    return new StillError('ENOENT', `the NBD server has no export "${exportName}"${words}`);
  if (reply === OptionReply.policy)
    return new StillError('EACCES', `the NBD server does not let us see the export "${exportName}"${words}`);
  if (reply === OptionReply.tlsRequired)
    return new StillError('EOPNOTSUPP', `the NBD server wants TLS for "${exportName}", which we don't speak`);
  if (reply === OptionReply.shutdown) return new StillError('EIO', `the NBD server is shutting down${words}`);
  return new StillError(
    'EIO',
    `the NBD server refuses the export "${exportName}" with 0x${reply.toString(16)}${words}`,
  );
}

interface Reply {
  readonly type: number;
  readonly data: Buffer;
}

/** Sends an option and gathers the replies to it, up to the one that ends it. `refused`: the number of an error. */
async function ask(
  wire: Wire,
  option: number,
  data?: Buffer,
): Promise<{ refused: number | undefined; replies: Reply[]; said: string }> {
  wire.send(encodeOption(option, data));
  const replies: Reply[] = [];
  while (replies.length < mostReplies) {
    const header = parseOptionReply(await wire.inbox.read(optionReplyBytes));
    if (header.option !== option) throw broken(`it answers option ${header.option} instead of ${option}`);
    if (header.length > longestReply) throw broken(`a reply of ${header.length} bytes to option ${option}`);
    const reply = { type: header.type, data: await wire.inbox.read(header.length) };
    if (reply.type === OptionReply.ack) return { refused: undefined, replies, said: '' };
    if (optionFailed(reply.type)) return { refused: reply.type, replies, said: printable(reply.data) };
    replies.push(reply);
  }
  throw broken(`its replies to option ${option} do not end`);
}

function sizes(replies: readonly Reply[]): Omit<Export, 'contexts' | 'extended'> {
  let told: { size: number; flags: number } | undefined;
  let minimumBlock = 1;
  let maximumBlock = defaultMaximum;
  for (const { type, data } of replies) {
    if (type !== OptionReply.info || data.length < 2) continue;
    const info = data.readUInt16BE(0);
    if (info === Info.export && data.length >= 12) told = parseExportInfo(data);
    if (info === Info.blockSize && data.length >= 14) {
      const { minimum, maximum } = parseBlockSizes(data);
      if (minimum < 1 || minimum > 65536 || (minimum & (minimum - 1)) !== 0)
        throw broken(`blocks of ${minimum} bytes`);
      minimumBlock = minimum;
      const most = Math.min(maximum, defaultMaximum);
      maximumBlock = Math.max(minimum, most - (most % minimum));
    }
  }
  if (!told) throw broken('it does not tell the size of the export');
  return { ...told, minimumBlock, maximumBlock };
}

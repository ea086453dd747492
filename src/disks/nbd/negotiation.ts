import type { Socket } from 'node:net';
import { StillError } from '../../errors.js';
import type { Inbox } from './inbox.js';
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
} from './protocol.js';

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
}

/** No option's reply is longer than names and messages may be (4096 bytes each). */
const longestReply = 16 * 1024;
/** What may be asked for where the server does not say (the protocol's own default). */
const defaultMaximum = 32 * 1024 * 1024;

/** Fixed newstyle negotiation, with structured replies and those meta contexts that the server has. */
export async function negotiate(
  socket: Socket,
  inbox: Inbox,
  exportName: string,
  contexts: readonly string[],
): Promise<Export> {
  const greeting = await inbox.read(18);
  if (greeting.readBigUInt64BE(0) !== handshakeMagic || greeting.readBigUInt64BE(8) !== optionMagic) {
    throw broken('its greeting is not that of a newstyle server');
  }
  const both = greeting.readUInt16BE(16) & (HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes);
  if ((both & HandshakeFlag.fixedNewstyle) === 0) throw broken('it speaks no fixed newstyle');
  const flags = Buffer.alloc(4);
  flags.writeUInt32BE(both, 0);
  socket.write(flags);

  const structured = await ask(socket, inbox, Option.structuredReply);
  if (!structured.accepted)
    throw new StillError('EIO', 'the NBD server gives no structured replies; a newer one is needed');
  const agreed = new Map<string, number>();
  if (contexts.length > 0) {
    const { replies } = await ask(
      socket,
      inbox,
      Option.setMetaContext,
      metaContextData(exportName, contexts),
    );
    for (const { type, data } of replies) {
      if (type === OptionReply.metaContext && data.length >= 4)
        agreed.set(data.subarray(4).toString('utf8'), data.readUInt32BE(0));
    }
  }
  const { accepted, replies, said } = await ask(socket, inbox, Option.go, goData(exportName));
  if (!accepted)
    throw new StillError('ENOENT', `the NBD server does not give the export "${exportName}": ${said}`);
  return { ...sizes(replies), contexts: agreed };
}

interface Reply {
  readonly type: number;
  readonly data: Buffer;
}

/** Sends an option and gathers the replies to it, up to the one that ends it. */
async function ask(
  socket: Socket,
  inbox: Inbox,
  option: number,
  data?: Buffer,
): Promise<{ accepted: boolean; replies: Reply[]; said: string }> {
  socket.write(encodeOption(option, data));
  const replies: Reply[] = [];
  while (replies.length < 64) {
    const header = parseOptionReply(await inbox.read(optionReplyBytes));
    if (header.option !== option) throw broken(`it answers option ${header.option} instead of ${option}`);
    if (header.length > longestReply) throw broken(`a reply of ${header.length} bytes to option ${option}`);
    const reply = { type: header.type, data: await inbox.read(header.length) };
    if (reply.type === OptionReply.ack) return { accepted: true, replies, said: '' };
    if (optionFailed(reply.type)) return { accepted: false, replies, said: reply.data.toString('utf8') };
    replies.push(reply);
  }
  throw broken(`its replies to option ${option} do not end`);
}

function sizes(replies: readonly Reply[]): Omit<Export, 'contexts'> {
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
      maximumBlock = Math.max(minimum, Math.min(maximum, defaultMaximum));
    }
  }
  if (!told) throw broken('it does not tell the size of the export');
  return { ...told, minimumBlock, maximumBlock };
}

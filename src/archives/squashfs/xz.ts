import { crc32 } from '../../crc32.js';
import { StillError } from '../../errors.js';
import { timed } from '../../pace.js';
import { branchFilters } from './bcj.js';
import { unpackLzma2 } from './lzma2.js';

// "The .xz File Format", sections 2.1.1 and 3
const magic = Buffer.from('\xfd7zXZ\0', 'latin1');
const headerBytes = 12;
const checks: Readonly<Record<number, string>> = { 4: 'CRC64', 10: 'SHA-256' };
const filterNames: Readonly<Record<number, string>> = { 3: 'delta', 6: 'IA-64', 11: 'RISC-V' };
const lzma2 = 0x21;

/**
 * Unpacks an .xz stream of one block that holds `most` bytes at most: LZMA2, with filters for programs or without,
 * checked by a CRC32, as mksquashfs writes it and Linux reads it. EIO: it is damaged. EOPNOTSUPP: another filter or check.
 */
export async function unpackXz(packed: Uint8Array, most: number): Promise<Uint8Array> {
  const input = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  const checkBytes = parseStreamHeader(input);
  const { filters, end: from } = parseBlockHeader(input);
  const target = Buffer.allocUnsafe(most);
  const { length, end } = await unpackLzma2(input, from, target);
  const unpacked = target.subarray(0, length);
  const checkAt = end + (-(end - from) & 3);
  if (checkAt + checkBytes >= input.length) throw damaged('it ends too soon');
  if (input[checkAt + checkBytes] !== 0) throw damaged('it has more than one block');
  timed(() => {
    for (const undo of filters.reverse()) undo(unpacked);
    if (checkBytes > 0 && input.readUInt32LE(checkAt) !== crc32(unpacked))
      throw damaged('its bytes are not those that its checksum is of');
  });
  return unpacked;
}

/** How many bytes the check of each block has. */
function parseStreamHeader(input: Buffer): number {
  if (input.length < headerBytes || !input.subarray(0, 6).equals(magic)) throw damaged('it has no header');
  const check = input[7] ?? 0;
  if (input[6] !== 0 || input.readUInt32LE(8) !== crc32(input.subarray(6, 8))) throw damaged('its header');
  if (check > 1)
    throw new StillError(
      'EOPNOTSUPP',
      `an .xz stream has the check ${checks[check] ?? check}; only CRC32 is read`,
    );
  return check * 4;
}

function parseBlockHeader(input: Buffer): { filters: Array<(code: Buffer) => void>; end: number } {
  const size = ((input[headerBytes] ?? 0) + 1) * 4;
  const end = headerBytes + size;
  if (size < 8 || end > input.length) throw damaged('its block header leaves it');
  const header = input.subarray(headerBytes, end - 4);
  if (input.readUInt32LE(end - 4) !== crc32(header)) throw damaged('its block header');
  const flags = header[1] ?? 0;
  if ((flags & 0x3c) !== 0) throw new StillError('EOPNOTSUPP', 'an .xz block has flags of a later format');

  let at = 2;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; shift < 49; shift += 7) {
      const byte = header[at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw damaged('a number in its block header');
  };
  if ((flags & 0x40) !== 0) number();
  if ((flags & 0x80) !== 0) number();
  const filters: Array<(code: Buffer) => void> = [];
  const count = (flags & 3) + 1;
  for (let each = 1; each <= count; each++) {
    const id = number();
    const properties = number();
    if (at + properties > header.length) throw damaged('a filter in its block header');
    const start = properties === 4 ? header.readUInt32LE(at) : 0;
    at += properties;
    const undo = branchFilters.get(id);
    if (each === count ? id !== lzma2 : !undo || start !== 0)
      throw new StillError(
        'EOPNOTSUPP',
        `an .xz block has the filter ${filterNames[id] ?? id}; it is not read`,
      );
    if (undo) filters.push(undo);
  }
  return { filters, end };
}

function damaged(what: string): StillError {
  return new StillError('EIO', `an .xz stream is damaged: ${what}`);
}

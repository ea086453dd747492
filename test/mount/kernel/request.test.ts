import { describe, expect, it } from 'vitest';
import { Opcode } from '../../../mount/kernel/protocol/opcode.js';
import {
  parseBatchForget,
  parseGetXattr,
  parseName,
  parseRead,
  parseRequest,
  parseSetAttributes,
  parseWrite,
} from '../../../mount/kernel/protocol/request.js';

/** A request as the kernel writes it: struct fuse_in_header and the body. */
function message(opcode: number, body: Buffer, says = 40 + body.length): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(says, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeBigUInt64LE(42n, 8);
  header.writeBigUInt64LE(7n, 16);
  return Buffer.concat([header, body]);
}

function words(...values: Array<number | bigint>): Buffer {
  return Buffer.concat(
    values.map((value) => {
      const bytes = Buffer.alloc(typeof value === 'bigint' ? 8 : 4);
      if (typeof value === 'bigint') bytes.writeBigUInt64LE(value);
      else bytes.writeUInt32LE(value);
      return bytes;
    }),
  );
}

describe('a request', () => {
  it('carries what it asks, of which node, and where its body is', () => {
    const request = parseRequest(message(Opcode.LOOKUP, Buffer.from('name\0')));
    expect(request).toMatchObject({ opcode: Opcode.LOOKUP, unique: 42, nodeid: 7n });
    expect(parseName(request.body)).toBe('name');
  });

  it('is refused where it is shorter than it says', () => {
    expect(() => parseRequest(message(Opcode.LOOKUP, Buffer.from('name\0'), 400))).toThrow(/says it has 400/);
    expect(() => parseRequest(Buffer.alloc(3))).toThrow(/3 bytes/);
  });

  it('keeps the bytes of a name that is not UTF-8', () => {
    expect(parseName(Buffer.from([0xff, 0x41, 0x00]))).toBe('\xffA');
  });

  it('is refused where its name has no end', () => {
    expect(() => parseName(Buffer.from('endless'))).toThrow(/without an end/);
  });

  it('reads at offsets beyond 4 GiB, and refuses those beyond 2^53', () => {
    expect(parseRead(words(3n, 2n ** 40n + 5n, 4096, 0))).toEqual({
      handle: 3,
      offset: 2 ** 40 + 5,
      size: 4096,
    });
    expect(() => parseRead(words(3n, 2n ** 60n, 4096, 0))).toThrow(/beyond 2\^53/);
  });

  it('keeps what is to be written when the buffer is used again', () => {
    const body = Buffer.concat([words(1n, 0n, 7, 0, 0n, 0, 0), Buffer.from('success')]);
    const { bytes } = parseWrite(body);
    body.fill(0);
    expect(bytes.toString()).toBe('success');
    expect(() => parseWrite(body.subarray(0, 20))).toThrow();
  });

  it('forgets several nodes at once', () => {
    expect(parseBatchForget(words(2, 0, 5n, 1n, 6n, 3n))).toEqual([
      { nodeid: 5n, lookups: 1 },
      { nodeid: 6n, lookups: 3 },
    ]);
  });

  it('tells a change of length from changes that are not taken', () => {
    const FATTR_SIZE = 8;
    const FATTR_MODE = 1;
    const FATTR_MTIME_NOW = 256;
    const of = (valid: number): ReturnType<typeof parseSetAttributes> =>
      parseSetAttributes(words(valid, 0, 0n, 9n));
    expect(of(FATTR_SIZE)).toEqual({ size: 9, more: false });
    expect(of(FATTR_SIZE | FATTR_MTIME_NOW)).toEqual({ size: 9, more: false });
    expect(of(FATTR_MODE)).toEqual({ size: undefined, more: true });
    expect(of(FATTR_MTIME_NOW)).toEqual({ size: undefined, more: true });
  });

  it('names the attribute that is asked for and the room for it', () => {
    expect(parseGetXattr(Buffer.concat([words(64, 0), Buffer.from('user.a\0')]))).toEqual({
      room: 64,
      name: 'user.a',
    });
  });
});

import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/filesystems/crc32c.js';

/** As iSCSI has it: inverted before and after. */
const iscsi = (bytes: Uint8Array): string => (~crc32c(0xffff_ffff, bytes) >>> 0).toString(16);

describe('CRC-32C', () => {
  it.each([
    ['nothing', Buffer.alloc(0), '0'],
    ['nine digits', Buffer.from('123456789'), 'e3069283'],
    // RFC 3720, appendix B.4
    ['32 bytes of zeros', Buffer.alloc(32), '8a9136aa'],
    ['32 bytes of ones', Buffer.alloc(32, 0xff), '62a8ab43'],
    ['32 bytes that go up', Buffer.from(Array.from({ length: 32 }, (_, at) => at)), '46dd794e'],
    ['32 bytes that go down', Buffer.from(Array.from({ length: 32 }, (_, at) => 31 - at)), '113fdb5c'],
  ])('of %s is what the standard says', (_what, bytes, expected) => {
    expect(iscsi(bytes)).toBe(expected);
  });

  it('is the same for pieces of any length, one after the other, as for the whole', () => {
    const bytes = Buffer.from(Array.from({ length: 100 }, (_, at) => (at * 151) % 256));
    const whole = crc32c(1, bytes);
    for (let cut = 0; cut <= bytes.length; cut++)
      expect(crc32c(crc32c(1, bytes, 0, cut), bytes, cut)).toBe(whole);
  });
});

import { describe, expect, it } from 'vitest';
import { Listing } from '../../../mount/kernel/protocol/reply.js';
import { nameFromText } from '../../../src/name.js';

const room = 256;
const row = (text: string) => ({ name: nameFromText(text), type: 'file' as const, number: 5n, cookie: 9n });

describe('a folder listing for the kernel', () => {
  it('takes rows up to its room, each at a multiple of eight bytes', () => {
    const listing = new Listing(room, false);
    let rows = 0;
    while (listing.fits(5)) {
      listing.add(row('abcde'));
      rows++;
    }
    expect(rows).toBe(Math.floor(room / 32));
    expect((listing.message.length - 16) % 8).toBe(0);
  });

  it('has room for a name of 255 bytes with its entry in 4 KiB', () => {
    expect(new Listing(4096, true).fits(255)).toBe(true);
    expect(new Listing(128, true).fits(1)).toBe(false);
  });

  it('leaves the node out of a row whose attributes are not known, so that the kernel counts no look-up', () => {
    const listing = new Listing(room, true);
    listing.add(row('a'));
    expect(listing.message.readBigUInt64LE(16)).toBe(0n);
    expect(listing.message.readBigUInt64LE(16 + 128)).toBe(5n);
  });
});

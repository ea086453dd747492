import { describe, expect, it } from 'vitest';
import type { Name } from '../../../src/name.js';
import type { Attributes } from '../../../src/tree/attributes.js';
import { packEntries, parsePacked, unpackEntries } from '../../../src/tree/port/packed-entries.js';
import type { Entry } from '../../../src/tree/tree.js';

const attributes: Attributes = {
  inode: 2n ** 64n - 1n,
  type: 'character',
  permissions: 0o7777,
  links: 65_001,
  uid: 2 ** 32 - 1,
  gid: 2 ** 32 - 2,
  device: { major: 4095, minor: 0 },
  size: Number.MAX_SAFE_INTEGER,
  allocated: 2 ** 52 + 1,
  accessed: { seconds: -(2 ** 40), nanoseconds: 999_999_999 },
  modified: { seconds: 0, nanoseconds: 0 },
  changed: { seconds: 2 ** 34, nanoseconds: 1 },
  freshSeconds: Number.POSITIVE_INFINITY,
};
const everyByte = Array.from({ length: 255 }, (_, at) => String.fromCharCode(at + 1)).join('') as Name;
const entries: Entry[] = [
  { name: everyByte, inode: 7n, type: 'file', cookie: 1n },
  {
    name: 'a' as Name,
    inode: 2n ** 64n - 1n,
    type: 'character',
    cookie: 2n ** 63n - 1n,
    found: { attributes, freshSeconds: 0.25 },
  },
  {
    name: 'b' as Name,
    inode: 0n,
    type: 'directory',
    cookie: 9n,
    found: {
      attributes: { ...attributes, type: 'socket', device: { major: 0, minor: 2 ** 20 - 1 }, bare: true },
      freshSeconds: Number.POSITIVE_INFINITY,
    },
  },
];

const received = (message: unknown): Entry[] => unpackEntries(parsePacked(message));

describe('packed entries', () => {
  it.each([true, false])('come out as they went in, to the last bit (last: %s)', (last) => {
    const { device: _, ...plain } = attributes;
    const file = { ...plain, type: 'file' } as const;
    const all = [...entries, { ...entries[1], found: { attributes: file, freshSeconds: 0 } } as Entry];
    expect(unpackEntries(packEntries({ entries: all, last }))).toEqual(all);
    expect(parsePacked(packEntries({ entries: all, last })).last).toBe(last);
  });

  it('may be none', () => {
    expect(unpackEntries(packEntries({ entries: [], last: true }))).toEqual([]);
  });

  it('are refused where there is less of them than they say', () => {
    const { rows, memory } = packEntries({ entries, last: true });
    for (let length = 0; length < memory.byteLength; length++) {
      expect(() => received({ rows, memory: memory.slice(0, length), last: true })).toThrow('malformed');
    }
    expect(() => received({ rows: 2 ** 50, memory, last: true })).toThrow('malformed');
  });

  it.each([Number.NaN, -1, 0.5, 2 ** 53])('are refused with %d in place of any of their numbers', (wrong) => {
    // -1 stands for no device, and is a second before 1970; times that something holds may be of any length.
    const allowed = wrong === -1 ? 4 : wrong === 0.5 ? 2 : wrong === 2 ** 53 ? 2 : 0;
    const { memory } = packEntries({ entries: entries.slice(1, 2), last: true });
    const numbers = (memory.byteLength - 24 - 1) / 8;
    const taken = Array.from({ length: numbers }, (_, at) => {
      const changed = memory.slice(0);
      new Float64Array(changed, 24, numbers)[at] = wrong;
      try {
        received({ rows: 1, memory: changed, last: true });
        return 1;
      } catch (error) {
        expect(error).toMatchObject({ code: 'EIO' });
        return 0;
      }
    }).reduce<number>((sum, one) => sum + one, 0);
    expect(taken).toBe(allowed);
  });

  it('are refused where they are nothing of the kind', () => {
    for (const value of [undefined, null, [], {}, { rows: 0, memory: new Uint8Array(8), last: true }])
      expect(() => received(value)).toThrow('malformed');
  });
});

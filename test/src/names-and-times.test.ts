import { describe, expect, it } from 'vitest';
import { codeOf, errnoOf, hasCode, messageOf, StillError } from '../../src/errors.js';
import { joined } from '../../src/extents.js';
import {
  isEntryName,
  type Name,
  nameFromBytes,
  nameFromText,
  nameToBytes,
  nameToText,
} from '../../src/name.js';
import { timeFromDate, timeFromNanoseconds } from '../../src/time.js';

describe('a name', () => {
  it('comes out as the bytes that went in, whatever they are', () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    expect(nameToBytes(nameFromBytes(bytes))).toEqual(bytes);
  });

  it('is UTF-8 where a person wrote it', () => {
    expect(nameToText(nameFromText('größe'))).toBe('größe');
    expect(nameFromText('ö').length).toBe(2);
  });

  it('can stand in a folder only if it leads nowhere else', () => {
    for (const bad of ['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(256)])
      expect(isEntryName(bad as Name)).toBe(false);
    for (const good of ['...', ' ', '\n', 'x'.repeat(255), '\xff'])
      expect(isEntryName(good as Name)).toBe(true);
  });
});

describe('a time', () => {
  it('before 1970 has its nanoseconds after the second', () => {
    expect(timeFromNanoseconds(-1n)).toEqual({ seconds: -1, nanoseconds: 999_999_999 });
    expect(timeFromDate(new Date(-1500))).toEqual({ seconds: -2, nanoseconds: 500_000_000 });
  });
});

describe('an error', () => {
  it('stands for its errno, by either of its names', () => {
    expect(errnoOf(new StillError('ENOENT', 'gone'))).toBe(2);
    expect(hasCode(new StillError('EAGAIN', ''), 'EWOULDBLOCK')).toBe(true);
    expect(hasCode(new StillError('EOPNOTSUPP', ''), 'ENOTSUP')).toBe(true);
  });

  it('that names none is EIO, and an aborted wait is EINTR', () => {
    expect(codeOf(new TypeError('x is not a function'))).toBe('EIO');
    expect(codeOf(new DOMException('stop', 'AbortError'))).toBe('EINTR');
  });

  it('tells its causes', () => {
    expect(messageOf(new StillError('EIO', 'a disk', { cause: new Error('a file') }))).toBe('a disk: a file');
  });
});

describe('extents', () => {
  it('of one kind that follow each other are one', () => {
    const data = { zero: false, dirty: true };
    const parts = [
      { offset: 0, length: 5, ...data },
      { offset: 5, length: 0, zero: true, dirty: true },
      { offset: 5, length: 5, ...data },
      { offset: 10, length: 5, zero: true, dirty: true },
    ];
    expect(joined(parts)).toEqual([{ offset: 0, length: 10, ...data }, parts[3]]);
  });
});

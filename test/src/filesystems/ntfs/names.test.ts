import { describe, expect, it } from 'vitest';
import { nameFromUtf16, nameToUtf16 } from '../../../../src/filesystems/ntfs/file-name.js';
import type { Name } from '../../../../src/name.js';

describe('a name of UTF-16', () => {
  it.each([
    'plain',
    'Überraschung',
    '文件',
    '🙂 and more',
    'ߐ\u0800\uffff',
  ])('is UTF-8 to Linux: %s', (text) => {
    const name = nameFromUtf16(text);
    expect(Buffer.from(name, 'latin1').toString('utf8')).toBe(text);
    expect(nameToUtf16(name)).toBe(text);
  });

  it.each([
    ['\ud83d', 'eda0bd'],
    ['a\udc00b', '61edb08062'],
    ['\udc00\ud800', 'edb080eda080'],
  ])('keeps half of a surrogate pair as the three bytes that it would be', (text, hex) => {
    expect(Buffer.from(nameFromUtf16(text), 'latin1').toString('hex')).toBe(hex);
    expect(nameToUtf16(nameFromUtf16(text))).toBe(text);
  });

  it.each([
    'ff',
    'c3',
    'c0af',
    'e08080',
    'eda0bdedb880',
    'f8808080',
    'f4908080',
    '80',
  ])('is none where the bytes are no UTF-8, or not the shortest: %s', (hex) => {
    expect(nameToUtf16(Buffer.from(hex, 'hex').toString('latin1') as Name)).toBeUndefined();
  });
});

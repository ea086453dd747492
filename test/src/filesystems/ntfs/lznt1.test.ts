import { describe, expect, it } from 'vitest';
import { unpackLznt1 } from '../../../../src/filesystems/ntfs/lznt1.js';

const unpacked = (hex: string, length: number): Buffer => {
  const target = Buffer.alloc(length, 0xee);
  unpackLznt1(Buffer.from(hex, 'hex'), target);
  return target;
};

describe('LZNT1', () => {
  it('is unpacked as in the example of [MS-XCA] section 3.3', () => {
    const packed =
      '38b08846232000204720410010a24701a045204400084501507900c045200524' +
      '138805b4024a44ef0358028c091601484500be009e000401189000';
    const text =
      'F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0';
    expect(unpacked(packed, text.length).toString('latin1')).toBe(text);
  });

  it('takes a chunk as it is, and fills what no chunk tells of with zeros', () => {
    const plain = Buffer.alloc(4096, 'plain');
    const packed = `ff3f${plain.toString('hex')}0000`;
    expect(unpacked(packed, 8192).equals(Buffer.concat([plain, Buffer.alloc(4096)]))).toBe(true);
  });

  it.each([
    ['goes back before the begin of a chunk', '02b00100f0'],
    ['leaves its unit', 'ffb00061'],
    ['ends within a copy', '02b0026100'],
    ['holds more than 4 KiB', '03b00261ff0f'],
  ])('is refused where it %s', (_how, packed) => {
    expect(() => unpacked(packed, 4096)).toThrow(expect.objectContaining({ code: 'EIO' }));
  });
});

import koffi from 'koffi';
import { describe, expect, it } from 'vitest';
import { pageAligned } from '../../../src/posix/page-aligned.js';

describe('memory that begins where a page does', () => {
  it('has its length, and begins at a multiple of the largest page, wherever it comes to lie', () => {
    for (const length of [1, 4096, 2 ** 20, 2 ** 20 + 1]) {
      const memory = pageAligned(length);
      expect(memory.length).toBe(length);
      expect(koffi.address(memory) % 65_536n).toBe(0n);
    }
  });
});

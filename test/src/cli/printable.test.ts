import { describe, expect, it } from 'vitest';
import { printable } from '../../../src/cli/printable.js';

describe('text that somebody else chose', () => {
  it.each([
    ['plain größe 日', 'plain größe 日'],
    ['\x1b[31mred', '\\x1b[31mred'],
    ['two\nlines\r\t', 'two\\x0alines\\x0d\\x09'],
    ['\x7f\x9b', '\\x7f\\x9b'],
  ])('%j can do nothing to a terminal', (text, shown) => {
    expect(printable(text)).toBe(shown);
  });
});

import { describe, expect, it } from 'vitest';
import { didYouMean, nearest } from '../../../src/config/nearest.js';

const known = ['mountpoint', 'allowOther', 'transport', 'level'];

describe('the known word that somebody meant', () => {
  it.each([
    ['mountpiont', 'mountpoint'],
    ['Mountpoint', 'mountpoint'],
    ['allow_other', 'allowOther'],
    ['tranport', 'transport'],
    ['leve', 'level'],
  ])('%s: %s', (word, meant) => {
    expect(nearest(word, known)).toBe(meant);
    expect(didYouMean(word, known)).toBe(` (did you mean "${meant}"?)`);
  });

  it.each(['', 'colour', 'l', 'mount'])('%j: none is near', (word) => {
    expect(nearest(word, known)).toBeUndefined();
    expect(didYouMean(word, known)).toBe('');
  });
});

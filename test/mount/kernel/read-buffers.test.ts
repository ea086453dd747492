import { describe, expect, it } from 'vitest';
import { ReadBuffers } from '../../../mount/kernel/read-buffers.js';

const mebibyte = 1024 * 1024;

describe('buffers for replies to reads', () => {
  it('are used again when they were given back, and only then', () => {
    const buffers = new ReadBuffers();
    const first = buffers.take(mebibyte);
    const second = buffers.take(mebibyte);
    expect(second === first).toBe(false);
    buffers.giveBack(first);
    expect(buffers.take(mebibyte) === first).toBe(true);
    expect(buffers.take(mebibyte) === first).toBe(false);
  });

  it('have the size that was asked for, whatever was given back', () => {
    const buffers = new ReadBuffers();
    buffers.giveBack(buffers.take(128 * 1024));
    expect(buffers.take(mebibyte).length).toBe(mebibyte + 16);
  });

  it('are kept up to 16 MiB', () => {
    const buffers = new ReadBuffers();
    const taken = Array.from({ length: 40 }, () => buffers.take(mebibyte));
    for (const buffer of taken) buffers.giveBack(buffer);
    const again = Array.from({ length: 40 }, () => buffers.take(mebibyte));
    expect(again.filter((buffer) => taken.includes(buffer)).length).toBe(15);
  });
});

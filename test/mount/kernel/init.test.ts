import { describe, expect, it } from 'vitest';
import { negotiate } from '../../../mount/kernel/protocol/init.js';

const EXPORT_SUPPORT = 1n << 4n;
const READDIRPLUS = 1n << 13n;
const READDIRPLUS_AUTO = 1n << 14n;
const WRITEBACK_CACHE = 1n << 16n;
const MAX_PAGES = 1n << 22n;
const PASSTHROUGH = 1n << 37n;
const everything = (1n << 48n) - 1n;
const own = { passthrough: true, readaheadBytes: 4 * 1024 * 1024 };
const kernel = { major: 7, minor: 45, maxReadahead: 128 * 1024, flags: everything };

/** The fields of struct fuse_init_out behind the header. */
function parsed(reply: Buffer): {
  major: number;
  minor: number;
  readahead: number;
  flags: bigint;
  pages: number;
} {
  return {
    major: reply.readUInt32LE(16),
    minor: reply.readUInt32LE(20),
    readahead: reply.readUInt32LE(24),
    flags: BigInt(reply.readUInt32LE(28)) | (BigInt(reply.readUInt32LE(48)) << 32n),
    pages: reply.readUInt16LE(44),
  };
}

describe('INIT', () => {
  it('agrees on what both sides know, and on nothing that changes what a write means', () => {
    const { flags, minor, pages } = parsed(negotiate(kernel, own).reply);
    for (const wanted of [EXPORT_SUPPORT, READDIRPLUS, MAX_PAGES, PASSTHROUGH])
      expect(flags & wanted).toBe(wanted);
    expect(flags & (READDIRPLUS_AUTO | WRITEBACK_CACHE)).toBe(0n);
    expect(minor).toBeLessThanOrEqual(kernel.minor);
    expect(pages * 4096).toBe(1024 * 1024);
  });

  it('asks for nothing that the kernel does not offer', () => {
    const { flags } = parsed(negotiate({ ...kernel, flags: MAX_PAGES }, own).reply);
    expect(flags).toBe(MAX_PAGES);
  });

  it('speaks the protocol of an older kernel, without passthrough before 7.40', () => {
    const { minor, flags } = parsed(negotiate({ ...kernel, minor: 31 }, own).reply);
    expect(minor).toBe(31);
    expect(flags & PASSTHROUGH).toBe(0n);
  });

  it('takes no more readahead than the kernel gives', () => {
    expect(parsed(negotiate(kernel, own).reply).readahead).toBe(128 * 1024);
  });

  it('hands no files to the kernel where that is not wanted', () => {
    const answer = negotiate(kernel, { ...own, passthrough: false });
    expect(parsed(answer.reply).flags & PASSTHROUGH).toBe(0n);
    expect('session' in answer && answer.session.passthrough).toBe(false);
  });

  it('refuses a kernel that is too old, and says which one is needed', () => {
    expect(() => negotiate({ ...kernel, minor: 30 }, own)).toThrow(/speaks FUSE 7\.30; 7\.31 \(Linux 5\.4\)/);
    expect(() => negotiate({ ...kernel, major: 6 }, own)).toThrow(
      expect.objectContaining({ code: 'EPROTO' }),
    );
  });

  it('asks a kernel of a later major version to come back with ours', () => {
    const answer = negotiate({ ...kernel, major: 8, minor: 0 }, own);
    expect('again' in answer).toBe(true);
    expect(parsed(answer.reply).major).toBe(7);
  });
});

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { casefold } from '../../../../src/filesystems/ext/casefold.js';
import { hashOfVersion } from '../../../../src/filesystems/ext/directory-hash.js';
import { parseSuperblock } from '../../../../src/filesystems/ext/superblock.js';
import { numbers } from '../../../corpus/qcow2-images.js';
import { ExtImage } from './images.js';

/** Names of all lengths, half of their bytes above 127; debugfs can't be told of spaces and quotes. */
function names(): Buffer[] {
  const random = numbers(3);
  const byte = (): number => (random() % 2 === 0 ? 0x61 + (random() % 26) : 0x80 + (random() % 128));
  return Array.from({ length: 255 }, (_, length) => Buffer.from(Array.from({ length: length + 1 }, byte)));
}

describe('the hash of a name', () => {
  it.each([
    ['legacy', 0],
    ['half_md4', 1],
    ['tea', 2],
  ] as const)('is what debugfs makes of it: %s', (algorithm, version) => {
    const image = new ExtImage(2, ['-t', 'ext4', '-O', '^has_journal']);
    const folder = mkdtempSync(join(tmpdir(), 'stillfs-hashes-'));
    try {
      const seed = '01234567-89ab-cdef-0123-456789abcdef';
      const bytes = image.bytes.subarray(1024, 2048);
      Buffer.from(seed.replaceAll('-', ''), 'hex').copy(bytes, 0xec);
      const superblock = parseSuperblock(bytes);
      const hash = hashOfVersion(version, { ...superblock, hash: { ...superblock.hash, unsigned: false } });
      const commands = join(folder, 'commands');
      const lines = names().map((name) =>
        Buffer.concat([Buffer.from(`dx_hash -h ${algorithm} -s ${seed} `), name, Buffer.from('\n')]),
      );
      writeFileSync(commands, Buffer.concat(lines));
      const told = execFileSync('debugfs', ['-f', commands], { encoding: 'latin1', stdio: 'pipe' });
      const expected = [...told.matchAll(/ is 0x([0-9a-f]+) \(minor 0x([0-9a-f]+)\)/g)].map(
        ([, major, minor]) => ({
          major: Number.parseInt(major ?? '', 16),
          minor: Number.parseInt(minor ?? '', 16),
        }),
      );
      expect(expected).toHaveLength(255);
      expect(names().map((name) => hash?.(name))).toEqual(expected);
    } finally {
      image.remove();
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a folded name', () => {
  it('is folded as Unicode 12.1 has it, in full, letter by letter', () => {
    const script = `use feature qw(fc unicode_strings); binmode STDOUT, ':utf8';
      for my $code (0x21..0x1ffff) { next if $code >= 0xd800 && $code < 0xe000; my $char = chr $code;
        next unless $char =~ /\\p{Present_In: 12.1}/;
        my $folded = fc $char; print "$code ", join(',', map { ord } split //, $folded), "\\n" if $folded ne $char; }`;
    const lines = execFileSync('perl', ['-e', script], { encoding: 'utf8' }).trim().split('\n');
    expect(lines.length).toBeGreaterThan(1300);
    for (const line of lines) {
      const [code = '', folded = ''] = line.split(' ');
      const expected = String.fromCodePoint(...folded.split(',').map(Number)).normalize('NFD');
      const char = String.fromCodePoint(Number(code));
      expect(casefold(Buffer.from(char))?.toString(), `U+${Number(code).toString(16)}`).toBe(expected);
    }
  });

  it('is none where it is no UTF-8', () => {
    expect(casefold(Buffer.from([0x41, 0xff]))).toBeUndefined();
  });
});

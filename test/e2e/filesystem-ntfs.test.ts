import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasCode } from '../../src/errors.js';
import { Churn } from '../corpus/churn.js';
import { makeNode, setXattr } from '../corpus/odd-calls.js';
import { numbers } from '../corpus/qcow2-images.js';
import { MountedImage } from '../filesystems/mounted-image.js';
import { makeVolume, mountedByNtfs3g, setNtfs } from '../src/filesystems/ntfs/volumes.js';
import { compareTrees, type Difference } from '../tree-comparison/compare-trees.js';
import { dataRanges } from '../tree-comparison/contents.js';
import { output } from './served-mount.js';

const full = process.env.STILLFS_FULL !== undefined;
const mebibyte = 1024 * 1024;

/** Compares what ntfs-3g shows of a volume, without changing it, with what we do. */
async function differences(image: string): Promise<{ found: Difference[]; problems: readonly string[] }> {
  return mountedByNtfs3g(image, 'ro', async (byNtfs3g) => {
    const ours = await MountedImage.start('ntfs', image);
    try {
      const found = await compareTrees(byNtfs3g, ours.mountpoint, { folders: 'same', inodes: 'same' });
      return { found, problems: ours.problems };
    } finally {
      await ours.stop();
    }
  });
}

const same = { found: [], problems: [] };

/** What of a file's bytes packs well, what packs badly, and what does not pack at all. */
function mixedBytes(length: number, seed: number): Buffer {
  const random = numbers(seed);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const piece = Math.min(1 + (random() % 20_000), length - at);
    const kind = random() % 4;
    if (kind === 0) bytes.fill(`${random()} and on and on; `, at, at + piece);
    else if (kind === 1) for (let each = at; each < at + piece; each++) bytes[each] = random();
    else if (kind === 2) for (let each = at; each < at + piece; each++) bytes[each] = random() % 6;
    at += piece;
  }
  return bytes;
}

type PathIn = (...names: string[]) => string;

/** What ntfs-3g can put into a volume and a reader can get wrong, each in a folder of its name. */
const oddities = {
  names(at: PathIn): void {
    const names = [
      'plain',
      ' spaces ',
      'new\nline',
      'ünïcödé ☃ 🙂',
      'e\u0301',
      '\u00e9',
      '...',
      '-rf',
      'a:b|c<d>"e?f*g\\h',
    ];
    for (const name of [...names, 'x'.repeat(255), '漢'.repeat(255), '🙂'.repeat(127)])
      writeFileSync(at(name), name);
    for (const name of [
      'Case',
      'case',
      'CASE',
      'cASE',
      'ÄÖÜ',
      'äöü',
      'ÿ',
      'Ÿ',
      'ß',
      'SS',
      'ı',
      'I',
      'i',
      'İ',
    ])
      writeFileSync(at(`${name} of a name`), name);
  },
  sizes(at: PathIn): void {
    for (const size of [
      0, 1, 100, 600, 700, 800, 1023, 1024, 4095, 4096, 4097, 65_535, 65_536, 65_537, 300_001,
    ])
      writeFileSync(at(`${size}`), mixedBytes(size, size));
    writeFileSync(at('extended'), 'begin');
    truncateSync(at('extended'), 200_000);
    appendFileSync(at('extended'), 'end');
  },
  links(at: PathIn): void {
    writeFileSync(at('file'), 'one of many names');
    for (let each = 0; each < 100; each++) linkSync(at('file'), at(`another rather long name ${each}`));
    symlinkSync('file', at('symlink'));
    symlinkSync('../../ünïcödé', at('dangling'));
    symlinkSync(`${'t/'.repeat(2000)}t`, at('long'));
  },
  nodes(at: PathIn): void {
    makeNode(Buffer.from(at('null')), 'character', 1, 3);
    makeNode(Buffer.from(at('disk')), 'block', 8, 17);
    makeNode(Buffer.from(at('fifo')), 'fifo');
    makeNode(Buffer.from(at('socket')), 'socket');
  },
  times(at: PathIn): void {
    for (const seconds of [-11_644_473_600, -1_000_000_000, -1, 0, 1, 4_000_000_000, 200_000_000_000]) {
      writeFileSync(at(`${seconds}`), '');
      utimesSync(at(`${seconds}`), seconds, seconds);
    }
    writeFileSync(at('fraction'), '');
    utimesSync(at('fraction'), 1_234_567_890.123_456, 1_234_567_890.654_321);
  },
  streams(at: PathIn): void {
    writeFileSync(at('few'), 'few');
    setXattr(Buffer.from(at('few')), 'user.small', Buffer.from('small'));
    setXattr(Buffer.from(at('few')), 'user.empty', Buffer.alloc(0));
    setXattr(Buffer.from(at('few')), Buffer.from('user.ümlaut').toString('latin1'), Buffer.from('name'));
    setXattr(Buffer.from(at('few')), 'user.large', mixedBytes(65_536, 3));
    writeFileSync(at('many'), 'many');
    for (let each = 0; each < 150; each++)
      setXattr(Buffer.from(at('many')), `user.stream ${each}`, Buffer.alloc(each * 9, each));
    setXattr(Buffer.from(at()), 'user.on a folder', Buffer.from('folder'));
  },
  async compressed(at: PathIn): Promise<void> {
    await setNtfs(at(), 'ntfs_attrib_be', '00000800');
    for (const size of [1, 5000, 65_535, 65_536, 65_537, 1_000_003])
      writeFileSync(at(`${size}`), mixedBytes(size, size));
    const holes = openSync(at('holes'), 'w');
    ftruncateSync(holes, 3_000_000);
    writeSync(holes, mixedBytes(100_000, 8), 0, 100_000, 1_300_000);
    closeSync(holes);
  },
};

async function makeOddities(root: string, topics: readonly (keyof typeof oddities)[]): Promise<void> {
  for (const topic of topics) {
    mkdirSync(join(root, topic));
    await oddities[topic]((...names) => join(root, topic, ...names));
  }
}
const allOddities = Object.keys(oddities) as (keyof typeof oddities)[];

describe('an NTFS volume', () => {
  let folder: string;
  let image: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-ntfs-'));
    image = join(folder, 'image');
  });
  afterAll(() => rm(folder, { recursive: true }));

  it.each([
    ['as mkntfs makes it', ['-C'], allOddities],
    ['with clusters of 512 bytes', ['-c', '512', '-C'], allOddities],
    ['with clusters of 64 KiB', ['-c', '65536'], allOddities],
    ['with sectors and records of 4 KiB', ['-s', '4096', '-C'], allOddities],
    ['with clusters of 2 MiB', ['-c', `${2 * mebibyte}`], ['sizes', 'names', 'times'] as const],
  ])('%s shows every oddity as ntfs-3g does', async (_how, options, topics) => {
    await makeVolume(image, 512 * mebibyte, ...options);
    await mountedByNtfs3g(image, 'rw', (root) => makeOddities(root, topics));
    expect(await differences(image)).toEqual(same);
  });

  it('that was changed for a long time shows what ntfs-3g does', async () => {
    await makeVolume(image, 400 * mebibyte, '-C', '-c', '1024');
    await mountedByNtfs3g(image, 'rw', async (root) => {
      mkdirSync(join(root, 'plain'));
      mkdirSync(join(root, 'compressed'));
      await setNtfs(join(root, 'compressed'), 'ntfs_attrib_be', '00000800');
      for (const [seed, name] of ['plain', 'compressed'].entries())
        new Churn(join(root, name), seed + 1).run(full ? 40_000 : 1_500);
    });
    expect(await differences(image)).toEqual(same);
  });

  it('of a system’s files shows what ntfs-3g does', async () => {
    await makeVolume(image, (full ? 4096 : 1024) * mebibyte);
    const sources = full ? ['/etc', '/usr/bin', '/usr/share'] : ['/etc', '/usr/sbin'];
    await mountedByNtfs3g(image, 'rw', async (root) => {
      await output('cp', '-r', '--preserve=links,timestamps', ...sources, root);
    });
    expect(await differences(image)).toEqual(same);
  }, 3_600_000);

  it('that is full of pieces tells where each of them lies', async () => {
    await makeVolume(image, 24 * mebibyte, '-c', '512');
    await mountedByNtfs3g(image, 'rw', (root) => {
      const fillers: string[] = [];
      untilFull(() => {
        fillers.push(join(root, `filler ${fillers.length}`));
        writeFileSync(fillers.at(-1) ?? '', Buffer.alloc(1024, fillers.length));
      });
      for (const [place, filler] of fillers.entries()) if (place % 2 === 0) rmSync(filler);
      const bytes = mixedBytes(4096, 1);
      const descriptor = openSync(join(root, 'in pieces'), 'w');
      untilFull(() => writeSync(descriptor, bytes));
      closeSync(descriptor);
      expect(statSync(join(root, 'in pieces')).size).toBeGreaterThan(500_000);
    });
    expect(await output('ntfsinfo', '-F', '/in pieces', image)).toContain('$ATTRIBUTE_LIST');
    expect(await differences(image)).toEqual(same);
  });

  it(`lists a folder of ${full ? 'a million' : '10 000'} files, and finds each`, async () => {
    const files = full ? 1_000_000 : 10_000;
    await makeVolume(image, (full ? 3000 : 100) * mebibyte);
    await mountedByNtfs3g(image, 'rw', (root) => {
      mkdirSync(join(root, 'folder'));
      for (let each = 0; each < files; each++)
        closeSync(openSync(join(root, 'folder', `${(each * 7919) % files} of many`), 'w'));
    });
    expect(await differences(image)).toEqual(same);
  }, 3_600_000);

  it('keeps the holes of a file of 1 TiB', async () => {
    await makeVolume(image, 64 * mebibyte);
    const written = [0, 5_000_003_584, 2 ** 40 - 65_536];
    await mountedByNtfs3g(image, 'rw', (root) => {
      const descriptor = openSync(join(root, 'sparse'), 'w');
      ftruncateSync(descriptor, 2 ** 40);
      for (const place of written) writeSync(descriptor, Buffer.alloc(65_536, 'data'), 0, 65_536, place);
      closeSync(descriptor);
    });
    const ours = await MountedImage.start('ntfs', image);
    try {
      const descriptor = openSync(ours.path('sparse'), 'r');
      const ranges = dataRanges(descriptor, 2 ** 40);
      const begin = Buffer.alloc(131_072, 0xee);
      readSync(descriptor, begin, 0, begin.length, written[1] ?? 0);
      closeSync(descriptor);
      expect(begin.equals(Buffer.concat([Buffer.alloc(65_536, 'data'), Buffer.alloc(65_536)]))).toBe(true);
      expect(ranges).toBe(written.map((place) => `${place}-${place + 65_536}`).join(' '));
      expect(statSync(ours.path('sparse')).blocks).toBe((3 * 65_536) / 512);
    } finally {
      await ours.stop();
    }
  });
});

/** Does something until there is no room left for it. */
function untilFull(work: () => void): void {
  for (;;) {
    try {
      work();
    } catch (error) {
      if (hasCode(error, 'ENOSPC')) return;
      throw error;
    }
  }
}

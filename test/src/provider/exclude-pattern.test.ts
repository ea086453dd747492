import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nameToText } from '../../../src/name.js';
import { ExcludePattern } from '../../../src/provider/container/exclude-pattern.js';
import { excludedPaths } from '../../../src/provider/container/excluded-paths.js';

const { signal } = new AbortController();
const files = [
  ...['a', 'b.o', 'B.O', 'tmp/a', 'tmp/b', 'var/tmp/c', 'var/tmp/d/e.o', 'var/run/x.pid', 'var/run/y.pi'],
  ...['var/cache/apt/pkg.bin', 'var/cache/apt/archives/one.deb', 'home/u/.cache/x', 'home/u/.cache2'],
  ...[
    'a*b',
    'aXb',
    'a?b',
    'back\\slash',
    'back',
    '[x]',
    'x',
    'ä',
    'a-b',
    'a]b',
    '1file',
    'foo/bar/baz',
    'bar/foo/baz',
  ],
  ...[
    'dir.o/kept',
    'deep/a/b/c/d/tmp/x',
    'space at end ',
    '.hidden',
    'x.d/y.d/z',
    '+ plus',
    'core',
    'sub/core/x',
    'ab',
    'a.b',
  ],
];
const patterns = [
  ...[
    'a',
    '/a',
    'tmp',
    '/tmp',
    'tmp/',
    'a/',
    '/tmp/*',
    '/tmp/?*',
    '/var/run/?*.pid',
    '*.o',
    '/*.o',
    'var/*/a',
    '**/a',
  ],
  ...[
    '*/a',
    '/**/a',
    'var/**',
    '/var/**',
    'var/***',
    '/var/tmp/***',
    'apt/***',
    '**',
    '*',
    '/*',
    '/*/',
    '**.o',
    'v**.o',
  ],
  ...[
    'a\\*b',
    'a[*]b',
    'a?b',
    'back\\slash',
    'back\\\\sl*',
    '\\[x]',
    '[x]',
    '[[]x]',
    '[!a-z]',
    '[^a-z]*',
    '[[:digit:]]*',
  ],
  ...[
    '[[:upper:]].[[:upper:]]',
    '[]-]',
    'a[]-]b',
    'a[\\]]b',
    'ä',
    '[ä]',
    '??',
    '?',
    'foo/bar',
    '/foo/bar',
    'o/bar',
    'bar/foo/**',
  ],
  ...[
    'core',
    'sub/core/',
    'home/*/.cache/',
    '.*',
    'x.d/***',
    'x.d/y.d/',
    '*/y.d',
    'space at end ',
    '+ plus',
    '- a',
    'dir.o',
  ],
  ...[
    'a[b-]b',
    'a[+--]b',
    'var/cache/**/*.deb',
    'cache/**.deb',
    '/deep/**/x',
    'deep/**/tmp',
    'a\\',
    'a*\\',
    '[z-a]',
    '*b',
    'a*b*',
  ],
];

describe('a pattern of files that are left out', () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'stillfs-patterns-'));
    for (const file of files) {
      await mkdir(join(root, dirname(file)), { recursive: true });
      await writeFile(join(root, file), '');
    }
  });
  afterAll(() => rm(root, { recursive: true }));

  it.each(patterns)('leaves out what rsync does: %s', async (text) => {
    const rule = ['--filter', `- ${text}`];
    const list = ['-r', '--no-h', '--list-only', '--8-bit-output', ...rule, `${root}/`];
    const { stdout } = await execa('rsync', list, { env: { LC_ALL: 'C' }, stripFinalNewline: false });
    const kept = stdout
      .split('\n')
      .map((line) =>
        line
          .replace(/^\S+ +\S+ \S+ \S+ /, '')
          .replace(/\\#(\d{3})/g, (_, o) => String.fromCharCode(Number.parseInt(o, 8))),
      )
      .filter((path) => path !== '' && path !== '.')
      .sort();
    expect((await keptPaths(text)).sort()).toEqual(kept);
  });

  it.each(['', '/', '//', '[a', 'x[', 'a\0b'])('is none: %j', (text) => {
    expect(() => ExcludePattern.parse(text)).toThrow(/is no pattern/);
  });

  /** All paths but those that we leave out. */
  async function keptPaths(text: string): Promise<string[]> {
    const exclusion = { patterns: [ExcludePattern.parse(text)], emptied: new Set<never>() };
    const excluded: string[] = [];
    for await (const path of excludedPaths(root, exclusion, signal)) excluded.push(nameToText(path));
    const { stdout } = await execa('find', [root, '-mindepth', '1', '-printf', '%P\\0']);
    const all = stdout.split('\0').filter(Boolean);
    return all.filter((path) => !excluded.some((each) => path === each || path.startsWith(`${each}/`)));
  }
});

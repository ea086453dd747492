import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError, parseConfig, readConfigFile } from '../../../src/config/file.js';

const file = '/etc/stillfs/config.yaml';

/** What is wrong with a configuration, line by line. */
function problems(...lines: string[]): readonly string[] {
  try {
    parseConfig(lines.join('\n'), file);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('a configuration', () => {
  it('takes every key that there is', () => {
    const text = `
stores:
  nightly:
    path: /var/backups
    idMap: [{ inside: 0, outside: 100000, count: 65536 }]
    depth: 8
  usb: { path: usb }
mount:
  mountpoint: /mnt
  allowOther: true
  openToOthers: true
  readOnly: true
  transport: fuse-native
log: { level: debug }
`;
    expect(parseConfig(text, file)).toEqual({
      stores: {
        nightly: {
          path: '/var/backups',
          idMap: [{ inside: 0, outside: 100_000, count: 65_536 }],
          depth: 8,
        },
        usb: { path: 'usb' },
      },
      mount: {
        mountpoint: '/mnt',
        allowOther: true,
        openToOthers: true,
        readOnly: true,
        transport: 'fuse-native',
      },
      log: { level: 'debug' },
    });
  });

  it.each(['', '# nothing but a comment\n', '---\n', '{}'])('may be empty: %j', (text) => {
    expect(parseConfig(text, file)).toEqual({});
  });
});

describe('a mistake in a configuration is told with file, line, column and key', () => {
  it('an unknown key, with the known one that was meant', () => {
    expect(problems('mount:', '  mountpiont: /mnt')).toEqual([
      `${file}:2:3: mount.mountpiont: unknown key (did you mean "mountpoint"?); ` +
        'known here: mountpoint, allowOther, openToOthers, readOnly, transport',
    ]);
  });

  it('an unknown key that resembles none, with those that are known there', () => {
    expect(problems('log: { level: info, colour: red }')).toEqual([
      `${file}:1:21: log.colour: unknown key; known here: level`,
    ]);
    expect(
      problems('stores:', '  a: { path: /a, idMap: [{ inside: 0, outside: 0, count: 1, x: 1 }] }'),
    ).toEqual([`${file}:2:61: stores.a.idMap.0.x: unknown key; known here: inside, outside, count`]);
  });

  it('a value of another type', () => {
    expect(problems('stores:', '  nightly:', '    path: 7', '    depth: "8"')).toEqual([
      `${file}:3:11: stores.nightly.path: expected text, found 7`,
      `${file}:4:12: stores.nightly.depth: expected a number, found "8"`,
    ]);
    expect(problems('mount: { allowOther: yes }')).toEqual([
      `${file}:1:22: mount.allowOther: expected true or false, found "yes"`,
    ]);
    expect(problems('stores: [a]')).toEqual([
      `${file}:1:9: stores: expected names with values, found a list`,
    ]);
    expect(problems('- a')).toEqual([`${file}:1:1: expected keys with values, found a list`]);
    expect(problems('just words')).toEqual([`${file}:1:1: expected keys with values, found "just words"`]);
  });

  it('what is left out of containers by a pattern that is none, or a path that is none', () => {
    expect(
      problems('backup:', '  archive: tar.zst', "  exclude: ['*.o', '[a']", '  excludeMounts: [/srv, srv]'),
    ).toEqual([
      `${file}:3:20: backup.exclude.1: "[a" is no pattern: a [ in it has no ]`,
      `${file}:4:25: backup.excludeMounts.1: expected a path in the container: /srv/data`,
    ]);
  });

  it('a key without a value', () => {
    expect(problems('stores:', '  nightly:')).toEqual([
      `${file}:2:11: stores.nightly: expected keys with values, found nothing`,
    ]);
    expect(problems('mount:', 'log:')).toHaveLength(2);
  });

  it('a key that must be there', () => {
    expect(problems('stores:', '  nightly: { depth: 8 }')).toEqual([
      `${file}:2:12: stores.nightly.path: is missing: expected text`,
    ]);
  });

  it('a value out of bounds', () => {
    expect(problems('stores: { a: { path: "", depth: 0, idMap: [] } }')).toEqual([
      `${file}:1:22: stores.a.path: expected not empty, found ""`,
      `${file}:1:43: stores.a.idMap: expected not empty, found an empty list`,
      `${file}:1:33: stores.a.depth: expected at least 1, found 0`,
    ]);
    expect(problems('stores: { a: { path: /a, depth: 1025 } }')).toEqual([
      `${file}:1:33: stores.a.depth: expected at most 1024, found 1025`,
    ]);
    expect(problems('stores: { a: { path: /a, depth: 1.5 } }')).toEqual([
      `${file}:1:33: stores.a.depth: expected a whole number, found 1.5`,
    ]);
  });

  it('a word that is none of those that it may be', () => {
    expect(problems('mount: { transport: kernal }')).toEqual([
      `${file}:1:21: mount.transport: expected one of kernel, fuse-native, found "kernal" (did you mean "kernel"?)`,
    ]);
  });

  it('a name that no store can have', () => {
    for (const name of ['a/b', '../up', '.hidden', '"a b"', 'ä']) {
      const [problem = '', ...more] = problems('stores:', `  ${name}: { path: /a }`);
      expect(problem).toContain(
        `${file}:2:3: stores.${name.replaceAll('"', '')}: expected a name of letters`,
      );
      expect(more).toEqual([]);
    }
  });

  it('two stores of one name', () => {
    expect(problems('stores:', '  nightly: { path: /a }', '  nightly: { path: /b }')).toEqual([
      `${file}:3:3: Map keys must be unique`,
    ]);
  });

  it('text that is no YAML', () => {
    const [problem = ''] = problems('stores:', '  nightly: { path: /a');
    expect(problem).toMatch(/^\/etc\/stillfs\/config\.yaml:[23]:\d+: \S/);
  });

  it('an alias of nothing', () => {
    expect(problems('log: {}', 'mount: *nothing')).toEqual([
      `${file}:2:8: *nothing: there is no anchor &nothing before it`,
    ]);
  });

  it('a key that objects have by themselves, which must not be passed over', () => {
    expect(problems('stores:', '  __proto__: { path: /a }')).toEqual([
      `${file}:2:3: __proto__: no key may be called that`,
    ]);
    expect(problems('constructor: {}')[0]).toContain(`${file}:1:1: constructor: unknown key`);
  });

  it('aliases that multiply beyond all bounds', () => {
    const levels = Array.from({ length: 20 }, (_, level) =>
      level === 0 ? 'x0: &x0 [a, a]' : `x${level}: &x${level} [${`*x${level - 1},`.repeat(10)}]`,
    );
    expect(problems(...levels)[0]).toMatch(/^\/etc\/stillfs\/config\.yaml: the configuration can't be read/);
  });

  it('every mistake at once', () => {
    expect(problems('stroes: {}', 'mount: { readonly: true }', 'log: { level: loud }')).toHaveLength(3);
  });
});

describe('a configuration file', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-config-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is read', async () => {
    const path = join(folder, 'config.yaml');
    await writeFile(path, 'log: { level: warn }\n');
    expect(await readConfigFile(path)).toEqual({ log: { level: 'warn' } });
  });

  it('that is not there is named', async () => {
    const path = join(folder, 'none.yaml');
    await expect(readConfigFile(path)).rejects.toMatchObject({
      name: 'ConfigError',
      message: `${path}: the configuration can't be read: there is no such file`,
    });
  });

  it('that can not be read is named', async () => {
    await expect(readConfigFile(folder)).rejects.toMatchObject({
      name: 'ConfigError',
      message: `${folder}: the configuration can't be read`,
      cause: { code: 'EISDIR' },
    });
  });
});

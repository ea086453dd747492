import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Said, type Settings, settingsFrom, storesSaid } from '../../../src/config/settings.js';

describe('settings', () => {
  let folder: string;
  let config: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-settings-'));
    config = join(folder, 'config.yaml');
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function settings(text: string, said: Said = {}): Promise<Settings> {
    await writeFile(config, text);
    return settingsFrom({ config, ...said });
  }

  it('have defaults that let nobody else in and write nothing', async () => {
    expect(await settings('')).toEqual({
      stores: [],
      guests: [],
      state: '/var/lib/stillfs',
      cache: { folder: '/var/cache/stillfs', limit: 16 * 2 ** 30 },
      transport: 'kernel',
      allowOther: false,
      openToOthers: false,
      readOnly: true,
      logLevel: 'info',
      backup: { hooks: {}, exclude: [], excludeMounts: [] },
    });
  });

  it('come from the file', async () => {
    const text = `
stores: { nightly: { path: /a, depth: 3, idMap: [{ inside: 0, outside: 5, count: 2 }] } }
mount: { mountpoint: /m, allowOther: true, openToOthers: true, readOnly: false, transport: fuse-native }
log: { level: debug }
`;
    expect(await settings(text)).toMatchObject({
      stores: [{ name: 'nightly', path: '/a', depth: 3, idMap: [{ inside: 0, outside: 5, count: 2 }] }],
      mountpoint: '/m',
      transport: 'fuse-native',
      allowOther: true,
      openToOthers: true,
      readOnly: false,
      logLevel: 'debug',
    });
  });

  it('of the command line come before those of the file', async () => {
    const text = `
mount: { mountpoint: /m, allowOther: true, openToOthers: true, readOnly: true, transport: fuse-native }
log: { level: debug }
`;
    const said = {
      mountpoint: '/n',
      transport: 'kernel',
      allowOther: false,
      openToOthers: false,
      readOnly: false,
      logLevel: 'error',
    } as const;
    expect(await settings(text, said)).toMatchObject({ stores: [], ...said });
  });

  it('stores of the command line stand in place of those of the file', async () => {
    const text = 'stores: { nightly: { path: /a }, weekly: { path: /b } }';
    expect((await settings(text, { stores: ['usb=/c'] })).stores).toEqual([{ name: 'usb', path: '/c' }]);
    expect((await settings(text, { stores: [] })).stores).toHaveLength(2);
  });

  it("paths of the file are relative to its folder, the command line's to the working folder", async () => {
    const text = 'stores: { nightly: { path: backups } }\nmount: { mountpoint: ../mnt }';
    expect(await settings(text)).toMatchObject({
      stores: [{ path: join(folder, 'backups') }],
      mountpoint: join(folder, '../mnt'),
    });
    expect(await settings(text, { config: relative('.', config) })).toMatchObject({
      stores: [{ path: join(folder, 'backups') }],
    });
    expect(await settings(text, { stores: ['backups'], mountpoint: 'mnt' })).toMatchObject({
      stores: [{ name: 'backups', path: join(process.cwd(), 'backups') }],
      mountpoint: join(process.cwd(), 'mnt'),
    });
  });

  it('a file that was named must be there', async () => {
    await expect(settingsFrom({ config })).rejects.toThrow(`${config}: the configuration can't be read`);
  });
});

describe('--store', () => {
  it.each([
    ['/var/backups', 'backups', '/var/backups'],
    ['/var/backups/', 'backups', '/var/backups'],
    ['nas=/net/nas', 'nas', '/net/nas'],
    ['nas=relative/folder', 'nas', join(process.cwd(), 'relative/folder')],
    ['/with=equals', 'with-equals', '/with=equals'],
    ['./a=b', 'a-b', join(process.cwd(), 'a=b')],
    ['n=/a=b', 'n', '/a=b'],
    ['/srv/my backups', 'my-backups', '/srv/my backups'],
    ['/srv/.hidden', 'hidden', '/srv/.hidden'],
    ['.', basename(process.cwd()), process.cwd()],
  ])('%s is a store "%s" at %s', (text, name, path) => {
    expect(storesSaid([text])).toEqual([{ name, path }]);
  });

  it.each(['', '=', '=/a', 'name='])('%j is refused: neither DIR nor NAME=DIR', (text) => {
    expect(() => storesSaid([text])).toThrow(`--store "${text}": expected DIR or NAME=DIR`);
  });

  it('a name that no folder of the mount can have is refused', () => {
    expect(() => storesSaid(['a b=/x'])).toThrow('--store a b=/x: "a b" is not a name of letters');
    expect(() => storesSaid([`${'n'.repeat(64)}=/x`])).toThrow('is not a name of letters');
  });

  it('a path that no name can be made of needs one', () => {
    expect(() => storesSaid(['/'])).toThrow('--store /: no name can be made of this path: use NAME=/');
    expect(() => storesSaid(['/srv/…'])).toThrow('use NAME=/srv/…');
  });

  it('a second store of the same name is refused, and told how to name it', () => {
    expect(() => storesSaid(['/a/backups', '/b/backups'])).toThrow(
      '--store /b/backups: the name "backups" is already that of /a/backups; ' +
        'give this one another: --store NAME=/b/backups',
    );
    expect(() => storesSaid(['x=/a', 'x=/b'])).toThrow('the name "x" is already that of /a');
  });
});

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/volumes/lvm/config-text.js';
import { textDisk } from './metadata-text.js';
import { type Found, found, foundOn, shown } from './raw-file.js';

const mebibyte = 1024 * 1024;
let folder: string;
let open: Found[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-lvm-'));
  open = [];
});
afterEach(async () => {
  for (const each of open) await each.close();
  rmSync(folder, { recursive: true });
});

function image(name: string): string {
  return join(folder, name);
}

function make(...names: string[]): void {
  for (const name of names) {
    writeFileSync(image(name), '');
    truncateSync(image(name), 32 * mebibyte);
  }
}

/**
 * Runs LVM's own commands over images. This kernel need not have a device mapper: nothing is activated. `$1`, `$2`… in a command
 * stand for the images.
 */
function lvm(names: readonly string[], ...commands: string[]): void {
  const loops: string[] = [];
  try {
    for (const name of names)
      loops.push(execFileSync('losetup', ['--show', '-f', image(name)], { encoding: 'utf8' }).trim());
    const filter = [...loops.map((loop) => `"a|^${loop}$|"`), '"r|.*|"'].join(',');
    const config = [
      `devices { filter=[${filter}] use_devicesfile=0 obtain_device_list_from_udev=0 scan="/dev" }`,
      'global { activation=0 use_lvmlockd=0 use_lvmpolld=0 } backup { backup=0 archive=0 }',
    ].join(' ');
    for (const command of commands) {
      const words = command
        .split(' ')
        .map((word) => word.replace(/^\$(\d)$/, (_, at) => loops[at - 1] ?? ''));
      execFileSync('lvm', [...words, '--config', config], {
        stdio: 'pipe',
        env: { ...process.env, LVM_SUPPRESS_FD_WARNINGS: '1' },
      });
    }
  } finally {
    for (const loop of loops) execFileSync('losetup', ['-d', loop]);
  }
}

/** The header of the first metadata area. */
function headerOfArea(name: string): Buffer {
  const header = Buffer.alloc(512);
  const file = openSync(image(name), 'r');
  readSync(file, header, 0, header.length, 4096);
  closeSync(file);
  return header;
}

async function look(...names: string[]): Promise<Found> {
  const here = await found(Object.fromEntries(names.map((name) => [name, image(name)])));
  open.push(here);
  return here;
}

const volume = 'lvcreate -an -y -Zn -Wn';

describe('volume groups', () => {
  it('of one name are told apart by their UUIDs', async () => {
    make('a', 'b');
    lvm(['a'], 'pvcreate $1', 'vgcreate data $1', `${volume} -n one -L 4m data`);
    lvm(['b'], 'pvcreate $1', 'vgcreate data $1', `${volume} -n two -L 8m data`);
    const { volumes, problems, at } = await look('a', 'b');
    const [second = ''] = volumes.map(shown).filter((path) => path.endsWith('/two'));
    expect(second).toMatch(/^lvm\/data-[A-Za-z0-9]{8}\/two$/);
    expect(at('lvm/data/one').disk?.size).toBe(4 * mebibyte);
    expect(at(second).disk?.size).toBe(8 * mebibyte);
    expect(problems).toEqual([
      `There are several LVM volume groups called data; one of them is shown as ${second.slice(0, -4)}.`,
    ]);
    // The order of the disks decides which is which.
    expect((await look('b', 'a')).volumes.map(shown)).toContain('lvm/data/two');
  });

  it('are shown as the newest metadata has them', async () => {
    make('a', 'b');
    lvm(['a', 'b'], 'pvcreate $1 $2', 'vgcreate data $1 $2', `${volume} -n old -L 4m data`);
    cpSync(image('b'), image('before'));
    lvm(['a', 'b'], `${volume} -n new -L 4m data`, 'lvrename data old renamed');
    const names = ['lvm/data/renamed', 'lvm/data/new'];
    const logical = ({ volumes }: Found): string[] =>
      volumes.map(shown).filter((path) => path.startsWith('lvm'));
    expect(logical(await look('before', 'a'))).toEqual(names);
    expect(logical(await look('a', 'before'))).toEqual(names);
  });

  it('survive that one of their metadata areas is damaged, and say so', async () => {
    make('a');
    lvm(['a'], 'pvcreate --metadatacopies 2 $1', 'vgcreate data $1', `${volume} -n one -L 4m data`);
    const bytes = readFileSync(image('a'));
    const at = bytes.lastIndexOf('logical_volumes', 2 * mebibyte);
    bytes.write('logical-volumes', at);
    writeFileSync(image('a'), bytes);
    const { problems, at: volumeAt } = await look('a');
    expect(volumeAt('lvm/data/one').disk?.size).toBe(4 * mebibyte);
    expect(problems).toEqual([
      'a/raw: a metadata area of LVM is damaged: the checksum of its text is wrong.',
    ]);
  });

  it('are read where their text goes over the end of its area', async () => {
    make('a');
    lvm(
      ['a'],
      'pvcreate --metadatasize 32k --dataalignment 4k $1',
      'vgcreate data $1',
      `${volume} -n name0 -L 4m data`,
    );
    let round = 0;
    for (let isSplit = false; !isSplit && round < 40; round++) {
      lvm(['a'], `lvrename data name${round} name${round + 1}`);
      const header = headerOfArea('a');
      const [area, offset, length] = [32, 40, 48].map((at) => Number(header.readBigUInt64LE(at)));
      isSplit = (offset ?? 0) + (length ?? 0) > (area ?? 0);
    }
    expect(round).toBeLessThan(40);
    const { at, problems } = await look('a');
    expect(at(`lvm/data/name${round}`).disk?.size).toBe(4 * mebibyte);
    expect(problems).toEqual([]);
  });

  it('are found once where a disk is there twice', async () => {
    make('a');
    lvm(['a'], 'pvcreate $1', 'vgcreate data $1', `${volume} -n one -L 4m data`);
    cpSync(image('a'), image('b'));
    const { volumes, problems } = await look('a', 'b');
    expect(volumes.map(shown)).toEqual(['a/raw', 'b/raw', 'lvm/data/one']);
    expect(problems).toEqual([
      'b/raw and a/raw are the same LVM physical volume; the second is left out. One may be a copy of the other.',
    ]);
  });

  it('are found on partitions, and where a physical volume keeps no metadata itself', async () => {
    make('a', 'b');
    lvm(
      ['a', 'b'],
      'pvcreate $1',
      'pvcreate --metadatacopies 0 $2',
      'vgcreate data $1 $2',
      `${volume} -n one -L 4m data $2`,
    );
    const disk = readFileSync(image('a'));
    writeFileSync(image('parted'), '');
    truncateSync(image('parted'), 40 * mebibyte);
    execFileSync('sfdisk', ['--quiet', image('parted')], {
      input: 'label: dos\nsize=1MiB\nsize=32MiB, type=8e\n',
    });
    const parted = readFileSync(image('parted'));
    disk.copy(parted, 2 * mebibyte);
    writeFileSync(image('parted'), parted);
    const { at, problems, bytes } = await look('parted', 'b');
    expect(problems).toEqual([]);
    expect(at('lvm/data/one').disk?.size).toBe(4 * mebibyte);
    expect((await bytes('lvm/data/one')).every((byte) => byte === 0)).toBe(true);
  });
});

describe('hostile metadata', () => {
  it('makes no volume lie upon itself, nor on too many others', async () => {
    const onto = (name: string, below: string): string =>
      `${name} { status = ["VISIBLE"]
        segment1 { start_extent = 0 extent_count = 2 type = "striped" stripes = ["${below}", 0] } }`;
    const tower = Array.from({ length: 12 }, (_, index) =>
      onto(`storey${index}`, index ? `storey${index - 1}` : 'pv0'),
    );
    const here = await foundOn([
      {
        name: 'vda' as never,
        disk: textDisk([onto('round', 'about'), onto('about', 'round'), onto('self', 'self'), ...tower]),
      },
    ]);
    expect(here.at('lvm/vg/storey3').disk?.size).toBe(2 * 4096);
    for (const name of ['round', 'about', 'self', 'storey11'])
      expect([name, here.at(`lvm/vg/${name}`).disk]).toEqual([name, undefined]);
    expect(here.problems).toContain(
      "lvm/vg/self can't be read: self lies upon itself, or upon too many others.",
    );
  });

  it.each([
    ['stripes = ["pv0", 99]', 'extents 99 to 101 leave its physical volume'],
    ['stripes = ["pv0", 1e9]', "can't be understood"],
    ['stripes = ["pv0", -1]', 'is no list of volumes'],
    ['stripes = ["pv0"]', 'is no list of volumes'],
    ['stripes = ["nowhere", 0]', 'there is no volume nowhere'],
    ['stripes = ["pv0", 0, "pv0", 1] stripe_size = 0', "chunks of 0 bytes don't fill stripes of 4096"],
    ['stripes = ["pv0", 0, "pv0", 1] stripe_size = 3', "chunks of 1536 bytes don't fill stripes of 4096"],
    ['stripes = ["pv0", 0, "pv0", 1, "pv0", 2]', "2 extents can't be dealt out to 3 stripes"],
  ])('is refused at its place: %s', async (words, reason) => {
    const bad = `bad { status = ["VISIBLE"]
      segment1 { start_extent = 0 extent_count = 2 type = "striped" ${words} } }`;
    const here = await foundOn([{ name: 'vda' as never, disk: textDisk([bad]) }]);
    expect(here.problems.join()).toContain(reason);
    for (const { path, disk } of here.volumes) if (path[0] !== 'vda') expect(disk).toBeUndefined();
  });
});

describe("LVM's text", () => {
  it('has sections, numbers, strings, lists and comments', () => {
    const section = parseConfig(
      `
      # a comment { with = "marks" }
      one { two { count = 12 } # another
        text = "a \\"quoted\\" \\\\ word" list = [ "a", 1, [ ] }`.replace('[ ] }', '-2.5 ] empty = [] }'),
    );
    const one = section.section('one');
    expect(one.section('two').count('count')).toBe(12);
    expect(one.text('text')).toBe('a "quoted" \\ word');
    expect(one.list('list')).toEqual(['a', 1, -2.5]);
    expect(one.list('empty')).toEqual([]);
    expect(() => one.count('text')).toThrow('LVM metadata: one has no whole number text');
  });

  it.each([
    'a {',
    'a = [1',
    'a = "b',
    '}',
    'a = ',
    'a b',
    '{ }',
    'a { '.repeat(50),
    'a = [[1]]',
  ])('is refused where it does not follow the grammar: %s', (text) => {
    expect(() => parseConfig(text)).toThrow(/^LVM metadata: /);
  });
});

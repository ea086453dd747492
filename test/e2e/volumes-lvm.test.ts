import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Machine } from '../machine/machine.js';
import { type Found, found, shown } from '../src/volumes/raw-file.js';

const mebibyte = 1024 * 1024;
const names = ['vda', 'vdb', 'vdc'] as const;
const additions = {
  programs: ['/sbin/lvm'],
  modules: ['dm-mod', 'dm-mirror', 'raid0', 'raid1', 'raid456', 'dm-raid', 'dm-snapshot', 'dm-thin-pool'],
};
/** There is no udev in the guest, and no program that checks thin pools. */
const configure = `
export LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p /etc/lvm; cat >/etc/lvm/lvm.conf <<END
activation { udev_sync=0 udev_rules=0 monitoring=0 }
devices { obtain_device_list_from_udev=0 use_devicesfile=0 scan="/dev" }
global { use_lvmlockd=0 use_lvmpolld=0 thin_check_executable="" }
backup { backup=0 archive=0 }
END`;
const filled = ['linear', 'between', 'striped', 'wide', 'raid0', 'raid1', 'mirror', 'logged', 'origin'];

/** What the guest makes, and how its volumes are filled. One process runs all commands that it can: to start one takes long. */
const script = `${configure}
set -e
vda=$(readlink /dev/disk/vda)2; vdb=$(readlink /dev/disk/vdb); vdc=$(readlink /dev/disk/vdc)
cat >/run/commands <<END
#!/sbin/lvm
pvcreate $vda $vdb
pvcreate --metadatacopies 2 --dataalignment 3m $vdc
vgcreate -s 1m data-vg $vda $vdb $vdc
lvcreate -an -y -Wn -Zn -n linear -L 3m data-vg $vda
lvcreate -an -y -Wn -Zn -n between -L 2m data-vg $vda
lvextend -L 7m data-vg/linear $vdb
lvextend -L 9m data-vg/linear $vda
lvcreate -an -y -Wn -Zn -n striped -i 3 -I 8k -L 12m data-vg
lvcreate -an -y -Wn -Zn -n wide -i 2 -I 512k -L 8m data-vg
lvcreate -an -y -Wn -Zn -n raid0 --type raid0 -i 2 -I 16k -L 8m data-vg
lvcreate -an -y -Wn -Zn -n origin -L 4m data-vg
lvcreate -y -Wn -Zn -n raid1 --type raid1 -m 1 -L 6m data-vg $vda $vdb
lvcreate -y -Wn -Zn -n mirror --type mirror -m 1 --mirrorlog core -L 5m data-vg $vda $vdb
lvcreate -y -Wn -Zn -n logged --type mirror -m 1 -L 4m data-vg $vda $vdb $vdc
lvcreate -an -y -Wn -Zn -n raid5 --type raid5 -i 2 -L 8m data-vg
lvcreate -y --type thin-pool -n pool -L 8m data-vg
lvcreate -an -ky -y -V 20m --thinpool data-vg/pool -n thin
vgchange -ay data-vg
END
lvm /run/commands >/dev/null
for each in ${filled.join(' ')}; do dd if=/dev/urandom of=/dev/data-vg/$each bs=1M >/dev/null 2>&1 || true; done
lvm lvcreate -y --type snapshot -n earlier -L 2m data-vg/origin >/dev/null
dd if=/dev/urandom of=/dev/data-vg/origin bs=64k seek=3 count=9 >/dev/null 2>&1
while lvm lvs --noheadings -o copy_percent data-vg/raid1 data-vg/mirror data-vg/logged | grep -qv 100.00; do usleep 100000; done
sync
for each in ${filled.join(' ')}; do echo $each $(sha256sum </dev/data-vg/$each); done
`;

let folder: string;
let sums: ReadonlyMap<string, string>;

function file(name: string): string {
  return join(folder, name);
}

/** What a guest prints: a volume and its checksum a line. */
function checksums(output: string): Map<string, string> {
  const lines = output.matchAll(/^(\S+) ([0-9a-f]{64}) -$/gm);
  return new Map(Array.from(lines, ([, name = '', sum = '']) => [name, sum]));
}

async function checksumOf(guest: Found, volume: string): Promise<string> {
  return createHash('sha256')
    .update(await guest.bytes(`lvm/data-vg/${volume}`))
    .digest('hex');
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stillfs-volumes-'));
  for (const name of names) {
    writeFileSync(file(name), '');
    truncateSync(file(name), 96 * mebibyte);
  }
  const table = 'label: gpt\nsize=4MiB, type=U\ntype=V\n';
  execFileSync('sfdisk', ['--quiet', file('vda')], { input: table });
  const disks = names.map((name) => ({ id: name, file: file(name) }));
  const machine = await Machine.start({ disks, additions, agent: false });
  try {
    sums = checksums(await machine.output(script));
    await machine.quit();
  } finally {
    await machine.remove();
  }
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function whole(): Promise<Found> {
  return found(Object.fromEntries(names.map((name) => [name, file(name)])));
}

describe('logical volumes that a guest has made and filled', () => {
  it('hold, byte for byte, what the guest read from them', async () => {
    const guest = await whole();
    try {
      expect([...sums.keys()]).toEqual(filled);
      for (const [volume, sum] of sums)
        expect([volume, await checksumOf(guest, volume)]).toEqual([volume, sum]);
    } finally {
      await guest.close();
    }
  });

  it('are listed as the guest lists them; what is not read is named, with the reason', async () => {
    const guest = await whole();
    try {
      expect(guest.volumes.map(shown).sort()).toEqual(
        [
          ...['vda/part/1', 'vda/part/2', 'vdb/raw', 'vdc/raw'],
          ...[...sums.keys(), 'pool', 'raid5', 'earlier', 'thin'].map((name) => `lvm/data-vg/${name}`),
        ].sort(),
      );
      expect(guest.at('lvm/data-vg/linear').logical).toEqual({ group: 'data-vg', volume: 'linear' });
      expect([...guest.problems].sort()).toEqual([
        "lvm/data-vg/earlier can't be read: it is a snapshot, which stillfs does not read.",
        "lvm/data-vg/pool can't be read: it is a pool of thin volumes, which stillfs does not read.",
        'lvm/data-vg/raid5 can\'t be read: it is of the type "raid5", which stillfs does not read.',
        "lvm/data-vg/thin can't be read: it is a thin volume, which stillfs does not read.",
      ]);
      for (const name of ['pool', 'raid5', 'earlier', 'thin'])
        expect(guest.at(`lvm/data-vg/${name}`).disk).toBeUndefined();
    } finally {
      await guest.close();
    }
  });

  it('are shown as far as their disks are there, copies by those that are left', async () => {
    const guest = await found({ vdb: file('vdb'), vdc: file('vdc') });
    try {
      for (const name of ['raid1', 'mirror', 'logged'])
        expect([name, await checksumOf(guest, name)]).toEqual([name, sums.get(name)]);
      for (const name of ['linear', 'between', 'striped'])
        expect(guest.at(`lvm/data-vg/${name}`).disk).toBeUndefined();
      expect(guest.problems).toContainEqual(
        expect.stringMatching(
          /^lvm\/data-vg\/linear can't be read: its physical volume [\w-]{38} is missing\.$/,
        ),
      );
      expect(guest.problems).toContain(
        "The LVM volume group data-vg is not whole: 1 of its 3 physical volumes can't be found on the guest's disks.",
      );
    } finally {
      await guest.close();
    }
  });

  it('that are copies on two disks show the one that has missed no write', async () => {
    const later = (name: string): string => file(`${name}-later`);
    for (const name of names) cpSync(file(name), later(name));
    // The guest goes on without its first disk for a while.
    const disks = ['vdb', 'vdc'].map((name) => ({ id: name, file: later(name) }));
    const machine = await Machine.start({ disks, additions, agent: false });
    let sum: string | undefined;
    try {
      const output = await machine.output(`${configure}
        lvm lvchange -ay --activationmode degraded data-vg/raid1 >/dev/null 2>&1
        dd if=/dev/urandom of=/dev/data-vg/raid1 bs=64k seek=1 count=20 >/dev/null 2>&1; sync
        echo raid1 $(sha256sum </dev/data-vg/raid1)
        # Linux tells in the metadata that an image is missing a while after its first use, and at the end for certain.
        lvm lvchange -an data-vg/raid1 >/dev/null 2>&1`);
      sum = checksums(output).get('raid1');
      await machine.quit();
    } finally {
      await machine.remove();
    }
    expect(sum).not.toBe(sums.get('raid1'));
    const guest = await found(Object.fromEntries(names.map((name) => [name, later(name)])));
    try {
      expect(await checksumOf(guest, 'raid1')).toBe(sum);
    } finally {
      await guest.close();
    }
  }, 180_000);

  it('gives any range of a volume, across stripes and segments', async () => {
    const guest = await whole();
    try {
      for (const name of ['linear', 'striped', 'wide', 'raid0']) {
        const all = await guest.bytes(`lvm/data-vg/${name}`);
        for (let index = 1; index < 200; index++) {
          const from = (index * 7919 * 61) % all.length;
          const length = Math.min((index * 104_729) % 200_000, all.length - from);
          const part = await guest.bytes(`lvm/data-vg/${name}`, from, length);
          expect(part.equals(all.subarray(from, from + length)), `${name} ${from} ${length}`).toBe(true);
        }
      }
    } finally {
      await guest.close();
    }
  });
});

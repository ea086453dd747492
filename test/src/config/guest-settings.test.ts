import { describe, expect, it } from 'vitest';
import { ConfigError, parseConfig } from '../../../src/config/file.js';
import { guestsOf, guestsSaid } from '../../../src/config/guest-settings.js';

const said = (text: string): unknown => guestsSaid([text])[0];
const inFile = (text: string): unknown =>
  guestsOf(parseConfig(text, 'config.yaml').guests ?? [], '/etc/stillfs')[0];

describe('a guest', () => {
  it('needs an id, a monitor and a place for fleecing, and has sensible limits', () => {
    expect(said('id=100,qmp=/run/100.qmp,fleecing=/fleecing')).toEqual({
      type: 'qemu',
      id: '100',
      monitor: '/run/100.qmp',
      fleecing: '/fleecing',
      readable: 'all',
      takeMilliseconds: 60_000,
      freezeMilliseconds: 10_000,
      copyTimeoutSeconds: 20,
    });
  });

  it('is said the same on the command line and in the configuration', () => {
    const line = said(
      'id=100,type=qemu,qmp=/q,agent=/a,conf=/c,firewall=/f,fleecing=/d,fleecingLimit=20G,disks=vda+vdb,' +
        'readable=dirty,takeTimeout=30,freezeTimeout=2.5,copyTimeout=25,maxAge=3600',
    );
    const file = inFile(`
guests:
  - id: 100
    type: qemu
    qmp: /q
    agent: /a
    conf: /c
    firewall: /f
    fleecing: /d
    fleecingLimit: 20G
    disks: [vda, vdb]
    readable: dirty
    takeTimeout: 30
    freezeTimeout: 2.5
    copyTimeout: 25
    maxAge: 3600
`);
    expect(line).toEqual(file);
    expect(line).toMatchObject({
      fleecingLimitBytes: 20 * 2 ** 30,
      disks: ['vda', 'vdb'],
      freezeMilliseconds: 2500,
      longestSnapshotMilliseconds: 3_600_000,
    });
  });

  it('may have images to be read while it is off', () => {
    const images = { vda: '/images/a.qcow2', vdb: '/images/b.raw' };
    expect(said('id=1,qmp=/q,fleecing=/d,disks=vda:/images/a.qcow2+vdb:/images/b.raw')).toMatchObject({
      disks: ['vda', 'vdb'],
      images,
    });
    const text = 'guests:\n  - {id: a, qmp: q, fleecing: d, disks: {vda: a.qcow2}}\n';
    expect(inFile(text)).toMatchObject({
      monitor: '/etc/stillfs/q',
      images: { vda: '/etc/stillfs/a.qcow2' },
    });
  });

  it.each([
    ['id=100,fleecing=/d', /qmp=… is missing/],
    ['qmp=/q,fleecing=/d', /id=… is missing|id:/],
    ['id=../x,qmp=/q,fleecing=/d', /id/],
    ['id=1,qmp=/q,fleecing=/d,agnet=/a', /"agnet".*agent/],
    ['id=1,qmp=/q,fleecing=', /fleecing=VALUE/],
    ['id=1,qmp=/q,fleecing=/d,fleecingLimit=20X', /20G/],
    ['id=1,qmp=/q,fleecing=/d,readable=some', /readable/],
    ['id=1,qmp=/q,fleecing=/d,takeTimeout=soon', /takeTimeout/],
  ])('that is said wrongly (%s) is refused, and the message says what is', (text, message) => {
    expect(() => said(text)).toThrow(ConfigError);
    expect(() => said(text)).toThrow(message);
  });

  it('that is configured wrongly is told by line and key', () => {
    const text = 'guests:\n  - id: 100\n    qmp: /q\n    fleecing: /d\n    readble: all\n';
    expect(() => inFile(text)).toThrow(/config\.yaml:5:5: guests\.0\.readble: unknown key.*readable/);
  });

  it('that is a container needs its files and a way to take snapshots, and is said the same in both places', () => {
    const line = said(
      'id=201,type=lxc,conf=/c/config,rootfs=/r,firewall=/f,name=web,lxcPath=/l,snapshot=btrfs,snapshots=/s,' +
        'ids=host,idMap=0:100000:1000+1000:1000:1,takeTimeout=30,freezeTimeout=0.5,maxAge=3600',
    );
    const file = inFile(`
guests:
  - id: 201
    type: lxc
    conf: /c/config
    rootfs: /r
    firewall: /f
    name: web
    lxcPath: /l
    snapshot: btrfs
    snapshots: /s
    ids: host
    idMap: [{ inside: 0, outside: 100000, count: 1000 }, { inside: 1000, outside: 1000, count: 1 }]
    takeTimeout: 30
    freezeTimeout: 0.5
    maxAge: 3600
`);
    expect(line).toEqual(file);
    expect(line).toMatchObject({
      snapshot: { kind: 'btrfs', folder: '/s' },
      freezeMilliseconds: 500,
      longestSnapshotMilliseconds: 3_600_000,
    });
    expect(said('id=a,type=lxc,rootfs=/r,snapshot=none')).toEqual({
      type: 'lxc',
      id: 'a',
      rootfs: '/r',
      snapshot: { kind: 'none' },
      ids: 'container',
      takeMilliseconds: 60_000,
      freezeMilliseconds: 10_000,
    });
  });

  it('that is a container may have commands that take and drop its snapshots: lines, or lists of words', () => {
    const guest = '{id: a, type: lxc, snapshot: command, take: [zfs, snapshot, "a b"], drop: "x; y"}';
    expect(inFile(`guests: [${guest}]`)).toMatchObject({
      snapshot: { kind: 'command', take: ['zfs', 'snapshot', 'a b'], drop: 'x; y' },
    });
  });

  it.each([
    ['id=1,type=lcx,snapshot=none', /type: expected qemu or lxc|unknown key/],
    ['id=1,type=lxc,rootfs=/r', /snapshot=… is missing/],
    ['id=1,type=lxc,snapshot=btrfs', /rootfs: is missing.*conf/],
    ['id=1,type=lxc,rootfs=/r,snapshot=zfs', /snapshot/],
    ['id=1,type=lxc,rootfs=/r,snapshot=command,take=x', /drop: is missing/],
    ['id=1,type=lxc,rootfs=/r,snapshot=none,take=x', /take: goes with snapshot: command/],
    ['id=1,type=lxc,rootfs=/r,snapshot=btrfs,idMap=0:100000', /idMap/],
    ['id=1,type=lxc,rootfs=/r,snapshot=btrfs,fleecing=/f', /unknown key "fleecing"/],
  ])('that is a container said wrongly (%s) is refused, and the message says what is', (text, message) => {
    expect(() => said(text)).toThrow(ConfigError);
    expect(() => said(text)).toThrow(message);
  });

  it('that is a container configured wrongly is told by line and key', () => {
    const text = `guests:
  - id: 201
    type: lxc
    rootfs: /r
    snapshot: btrfs
    snapshot_dir: /s
`;
    expect(() => inFile(text)).toThrow(/config\.yaml:6:5: guests\.0\.snapshot_dir: unknown key.*snapshots/);
    expect(() => inFile(text.replace('snapshot_dir: /s', 'take: x'))).toThrow(
      /config\.yaml:6:11: guests\.0\.take: goes with snapshot: command/,
    );
    expect(() => inFile(text.replace('type: lxc', 'type: lxd'))).toThrow(
      /config\.yaml:3:11: guests\.0\.type: expected qemu or lxc/,
    );
  });

  it('has an id that no other has', () => {
    expect(() => guestsSaid(['id=1,qmp=/a,fleecing=/d', 'id=1,qmp=/b,fleecing=/d'])).toThrow(
      /two with the id 1/,
    );
  });
});

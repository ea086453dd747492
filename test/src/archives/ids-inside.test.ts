import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFileCapability, parseFileCapability } from '../../../src/archives/capability.js';
import { idInside } from '../../../src/id-map.js';
import { encodePosixAcl, parsePosixAcl, posixAclInside } from '../../../src/posix-acl.js';
import { readXattrs } from '../../tree-comparison/file-calls.js';

describe('an id map', () => {
  const map = [
    { inside: 0, outside: 100_000, count: 1000 },
    { inside: 1000, outside: 1000, count: 1 },
    { inside: 1001, outside: 101_001, count: 64_535 },
  ];
  it.each([
    [100_000, 0],
    [100_999, 999],
    [1000, 1000],
    [101_001, 1001],
    [165_535, 65_535],
    [99_999, 65_534],
    [101_000, 65_534],
    [165_536, 65_534],
    [0, 65_534],
  ])('shows %i as %i', (outside, inside) => expect(idInside(map, outside)).toBe(inside));
  it('leaves ids alone where there is none', () =>
    expect(idInside(undefined, 4_294_967_294)).toBe(4_294_967_294));
});

describe('what the system stores in attributes', () => {
  let folder: string;
  let file: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'stillfs-ids-'));
    file = join(folder, 'file');
    writeFileSync(file, '');
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const stored = (name: string): Buffer => Buffer.from(readXattrs(Buffer.from(file)).get(name) ?? '', 'hex');

  it('is read as setfacl meant it, and written as the system wrote it', () => {
    execFileSync('setfacl', ['-m', 'u::rw,u:7:rwx,u:100007:r,g::r,g:100000:x,m::rwx,o::-', file]);
    const value = stored('system.posix_acl_access');
    const entries = parsePosixAcl(value);
    expect(entries).toEqual([
      { kind: 'owner', permissions: 6 },
      { kind: 'user', permissions: 7, id: 7 },
      { kind: 'user', permissions: 4, id: 100_007 },
      { kind: 'owningGroup', permissions: 4 },
      { kind: 'group', permissions: 1, id: 100_000 },
      { kind: 'mask', permissions: 7 },
      { kind: 'other', permissions: 0 },
    ]);
    expect(Buffer.from(encodePosixAcl(entries))).toEqual(value);
    const map = [{ inside: 0, outside: 100_000, count: 65_536 }];
    const inside = parsePosixAcl(posixAclInside(value, { users: map, groups: map }));
    expect(inside.map(({ id }) => id)).toEqual([undefined, 65_534, 7, undefined, 0, undefined, undefined]);
  });

  it.each([
    [[], { revision: 2 }],
    [['-n', '100000'], { revision: 3, root: 100_000 }],
  ])('is read as setcap %j meant it, and written as the system wrote it', (options, told) => {
    execFileSync('setcap', [...options, 'cap_net_raw,cap_checkpoint_restore+ep cap_chown+ei', file]);
    const value = stored('security.capability');
    const capability = parseFileCapability(value);
    const permitted = (1n << 13n) | (1n << 40n);
    expect(capability).toEqual({ effective: true, permitted, inheritable: 1n, ...told });
    expect(Buffer.from(encodeFileCapability(capability))).toEqual(value);
  });

  it('is refused where it is cut or unknown', () => {
    for (const bytes of [
      [],
      [2, 0, 0],
      [3, 0, 0, 0],
      [2, 0, 0, 0, 1],
      [2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0],
    ]) {
      expect(() => parsePosixAcl(Uint8Array.from(bytes))).toThrow(/POSIX ACL/);
    }
    for (const bytes of [[], [1, 0, 0, 2], [...Array(20).fill(0)], [1, 0, 0, 3, ...Array(16).fill(0)]]) {
      expect(() => parseFileCapability(Uint8Array.from(bytes))).toThrow(/no file capability/);
    }
  });
});

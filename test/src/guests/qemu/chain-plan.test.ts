import { describe, expect, test } from 'vitest';
import { bitmapName, parseBitmapName } from '../../../../src/guests/qemu/bitmap-name.js';
import { planChain } from '../../../../src/guests/qemu/chain-plan.js';
import type { Drive } from '../../../../src/guests/qemu/drives.js';
import type { DirtyBitmap } from '../../../../src/guests/qemu/qmp/commands/block-nodes.js';

const first = '1'.repeat(32);
const second = '2'.repeat(32);
const next = 'f'.repeat(32);
const gibibyte = 2 ** 30;

function bitmap(base: string, facts: Partial<DirtyBitmap> = {}): DirtyBitmap {
  return {
    name: bitmapName({ chain: 'nightly', base }),
    dirtyBytes: 65_536,
    granularityBytes: 65_536,
    recording: true,
    busy: false,
    persistent: true,
    inconsistent: false,
    ...facts,
  };
}

function drive(...bitmaps: DirtyBitmap[]): Drive {
  const qomPath = '/machine/peripheral/a/virtio-backend';
  return { name: 'a', qomPath, node: 'drive-a', sizeBytes: gibibyte, format: 'qcow2', file: '/a', bitmaps };
}

const known = { id: first, sizeBytes: gibibyte };

describe('a chain has the whole disk dirty', () => {
  test('when it begins', () => {
    const plan = planChain(drive(), 'nightly', next, undefined);
    expect(plan).toMatchObject({ mode: 'new', base: null, oldBitmap: null, reason: null, persistent: true });
    expect(plan.newBitmap).toBe(`stillfs:nightly:${next}`);
  });

  test.each([
    ['when its bitmap is lost', [], known, /lost/],
    ['when its bitmap is inconsistent', [bitmap(first, { inconsistent: true })], known, /not whole/],
    ['when its bitmap stood still', [bitmap(first, { recording: false })], known, /stood still/],
    [
      'when the bitmap is of another snapshot than the last successful one',
      [bitmap(second)],
      known,
      /not of the last/,
    ],
    ['when nobody knows how large the disk was', [bitmap(first)], undefined, /not of the last/],
    ['when the disk has shrunk', [bitmap(first)], { id: first, sizeBytes: gibibyte + 1 }, /smaller/],
  ] as const)('%s, and says why', (_, bitmaps, base, reason) => {
    const plan = planChain(drive(...bitmaps), 'nightly', next, base);
    expect(plan.mode).toBe('new');
    expect(plan.reason).toMatch(reason);
    // What tells nothing any more goes, but only when the snapshot has succeeded.
    expect(plan.superseded).toEqual(bitmaps.map(({ name }) => name));
    expect(plan.first).toEqual([]);
  });
});

describe('a chain goes on', () => {
  test('from the one bitmap that has recorded since its base', () => {
    const plan = planChain(drive(bitmap(first)), 'nightly', next, known);
    expect(plan).toMatchObject({ mode: 'reuse', base: first, baseSizeBytes: gibibyte, first: [] });
    expect(plan.oldBitmap).toBe(bitmapName({ chain: 'nightly', base: first }));
  });

  test('where the disk has grown', () => {
    const plan = planChain(drive(bitmap(first)), 'nightly', next, { id: first, sizeBytes: gibibyte / 2 });
    expect(plan).toMatchObject({ mode: 'reuse', baseSizeBytes: gibibyte / 2 });
  });

  test('with the persistence that its bitmap has', () => {
    const plan = planChain(drive(bitmap(first, { persistent: false })), 'nightly', next, known);
    expect(plan.persistent).toBe(false);
  });

  test('whatever other chains and other programs have on the disk', () => {
    const others = [
      bitmap(second, { name: bitmapName({ chain: 'weekly', base: second }), recording: false }),
      bitmap(second, { name: 'somebody-elses', inconsistent: true }),
    ];
    expect(planChain(drive(bitmap(first), ...others), 'nightly', next, known).mode).toBe('reuse');
  });

  test('after an interrupted snapshot, from both its bitmaps united', () => {
    const still = bitmap(first, { recording: false });
    const plan = planChain(drive(still, bitmap(second)), 'nightly', next, known);
    expect(plan).toMatchObject({ mode: 'reuse', base: first });
    expect(plan.first.map(({ type }) => type)).toEqual([
      'block-dirty-bitmap-enable',
      'block-dirty-bitmap-merge',
      'block-dirty-bitmap-remove',
    ]);
  });

  test('after an interrupted snapshot that had succeeded, from the newer bitmap alone', () => {
    const still = bitmap(first, { recording: false });
    const plan = planChain(drive(still, bitmap(second)), 'nightly', next, { ...known, id: second });
    expect(plan).toMatchObject({ mode: 'reuse', base: second });
    expect(plan.first.map(({ type }) => type)).toEqual(['block-dirty-bitmap-remove']);
  });
});

test('only names of our own making are taken for bitmaps of a chain', () => {
  expect(parseBitmapName(bitmapName({ chain: 'a.b-c_d', base: first }))).toEqual({
    chain: 'a.b-c_d',
    base: first,
  });
  for (const name of ['chk1', 'stillfs:a', `stillfs:a b:${first}`, `stillfs:a:${first}0`, `other:a:${first}`])
    expect(parseBitmapName(name)).toBeUndefined();
});

import { describe, expect, it } from 'vitest';
import type { Mark } from '../../../src/provider/prune/keep-rules.js';
import { type PrunePlan, planPrune } from '../../../src/provider/prune/prune-plan.js';
import type { LinkedBackup } from '../../../src/provider/stored/backup-links.js';

interface Told {
  /** By disk: the backup that it is based on; null: nothing. */
  readonly disks: Readonly<Record<string, string | null>>;
  readonly withoutSums?: boolean;
  readonly problem?: string;
  /** What backup.json names besides. */
  readonly names?: string;
}

function linked(told: Readonly<Record<string, Told>>): LinkedBackup[] {
  return Object.entries(told).map(([backup, { disks, withoutSums, problem, names }]) => {
    const rows = Object.entries(disks);
    const described = rows.map(([name]) => [
      name,
      { file: `${name}.qcow2`, format: 'qcow2' as const, ...(withoutSums ? {} : { sums: `${name}.sums` }) },
    ]);
    return {
      backup,
      content: { parts: [], disks: [], description: { disks: Object.fromEntries(described) }, problems: [] },
      disks: rows.map(([name, on]) => ({
        name,
        file: `${name}.qcow2`,
        basis: on === null ? undefined : { guest: '100', backup: on, file: `${name}.qcow2` },
      })),
      parents: new Set([...rows.flatMap(([, on]) => on ?? []), ...(names === undefined ? [] : [names])]),
      problems: problem === undefined ? [] : [problem],
    };
  });
}

/** Plans with these backups kept and all others removed. */
function plan(told: Readonly<Record<string, Told>>, kept: string): PrunePlan {
  const marks = new Map<string, Mark>(
    Object.keys(told).map((backup) => [backup, kept.includes(backup) ? 'keep' : 'remove']),
  );
  return planPrune('100', linked(told), marks);
}

/** `B <- A` for each disk that is merged, with the number of images that become one. */
function mergesOf({ merges }: PrunePlan): string[] {
  return merges.flatMap(({ backup, disks }) =>
    disks.map(({ name, images, basis }) => `${backup}/${name}: ${images} upon ${basis?.backup ?? 'nothing'}`),
  );
}

const chain = {
  a: { disks: { vda: null } },
  b: { disks: { vda: 'a' } },
  c: { disks: { vda: 'b' } },
  d: { disks: { vda: 'c' } },
  e: { disks: { vda: 'd' } },
};

describe('the plan of a prune', () => {
  it('merges a run of removed backups once, into the next one that is kept', () => {
    const planned = plan(chain, 'ae');
    expect(mergesOf(planned)).toEqual(['e/vda: 4 upon a']);
    expect(planned.merges[0]?.takesIn).toEqual(['d', 'c', 'b']);
    expect(planned.removals).toEqual(['d', 'c', 'b']);
  });

  it('makes a backup independent where nothing below it is kept', () => {
    expect(mergesOf(plan(chain, 'ce'))).toEqual(['c/vda: 3 upon nothing', 'e/vda: 2 upon c']);
  });

  it('merges nothing into what is removed, nor where nobody builds on what is', () => {
    expect(plan(chain, 'ab')).toMatchObject({ merges: [], removals: ['e', 'd', 'c'] });
  });

  it('goes by each disk of its own', () => {
    const two = {
      a: { disks: { vda: null, vdb: null } },
      b: { disks: { vda: 'a' } },
      c: { disks: { vda: 'b', vdb: 'a' } },
    };
    expect(mergesOf(plan(two, 'ac'))).toEqual(['c/vda: 2 upon a']);
    expect(mergesOf(plan(two, 'c'))).toEqual(['c/vda: 3 upon nothing', 'c/vdb: 2 upon nothing']);
  });

  it('keeps all that something builds on which can’t be merged, and uses it for others', () => {
    const branches = {
      ...chain,
      f: { disks: { vda: 'b' }, withoutSums: true },
    };
    const planned = plan(branches, 'ef');
    expect([...planned.needed.keys()]).toEqual(['b', 'a']);
    expect(planned.needed.get('a')).toMatch(/^f builds on it: vda\.qcow2 has no checksums/);
    expect(mergesOf(planned)).toEqual(['e/vda: 3 upon b']);
    expect(planned.removals).toEqual(['d', 'c']);
  });

  it('keeps everything where it can’t be told what a backup builds on', () => {
    const planned = plan({ ...chain, f: { disks: {}, problem: 'its header is damaged' } }, 'ef');
    expect(planned).toMatchObject({ merges: [], removals: [] });
    expect([...planned.needed.values()]).toEqual(new Array(4).fill('its header is damaged'));
    // Of what is removed anyway it does not matter.
    expect(plan({ ...chain, f: { disks: {}, problem: 'its header is damaged' } }, 'e').removals).toHaveLength(
      5,
    );
  });

  it('keeps what backup.json alone calls the parent', () => {
    const planned = plan({ ...chain, f: { disks: { vda: null }, names: 'b' } }, 'ef');
    expect([...planned.needed.keys()].sort()).toEqual(['a', 'b']);
  });

  it('does not go round in a circle', () => {
    const circle = { a: { disks: { vda: 'b' } }, b: { disks: { vda: 'a' } }, c: { disks: { vda: 'b' } } };
    const planned = plan(circle, 'c');
    expect(planned.removals).toEqual([]);
    expect(planned.needed.get('a')).toMatch(/has a chain that does not end/);
  });
});

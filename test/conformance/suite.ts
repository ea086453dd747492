import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { behaviours as allBehaviours } from './behaviours/all.js';
import type { Behaviour, Trial } from './behaviours/behaviour.js';
import { fuseNativeLacks } from './fuse-native-lacks.js';
import { type Hosting, MountedTrees, type Transport } from './mounted-trees.js';

/** Tries every behaviour on a transport, or what holds instead where the transport lacks it. */
export function conformance(
  transport: Transport,
  hosting: Hosting,
  behaviours: readonly Behaviour[] = allBehaviours,
): void {
  const lacks = transport === 'fuse-native' ? fuseNativeLacks : {};
  const own: MountedTrees[] = [];
  const folders: string[] = [];
  let shared: MountedTrees;

  const trial: Trial = {
    get shared() {
      return shared;
    },
    async fresh(tree, options = {}) {
      const mounted = await MountedTrees.start({ transport, hosting, tree, ...options });
      own.push(mounted);
      return mounted;
    },
    async folder() {
      const folder = await mkdtemp(join(tmpdir(), 'conformance-copy-'));
      folders.push(folder);
      return folder;
    },
  };

  describe(`${transport}, trees in ${hosting === 'worker' ? 'workers' : 'the process'}`, () => {
    beforeAll(async () => {
      shared = await MountedTrees.start({ transport, hosting, tree: 'all' });
    });

    afterEach(async () => {
      for (const mounted of own.splice(0)) await mounted.stop();
      for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
    });

    afterAll(async () => {
      await shared?.stop();
    });

    for (const behaviour of behaviours) {
      if (behaviour.hosting === undefined || behaviour.hosting === hosting) declare(behaviour);
    }

    test('what is lacking is lacking from this list', () => {
      const known = new Set(allBehaviours.map(({ must }) => must));
      expect(known.size).toBe(allBehaviours.length);
      expect(Object.keys(lacks).filter((must) => !known.has(must))).toEqual([]);
    });
  });

  function declare({ must, check }: Behaviour): void {
    const lack = lacks[must];
    if (lack) test(`lacks: ${must}. Instead: ${lack.instead}`, () => lack.check(trial));
    else test(must, () => check(trial));
  }
}

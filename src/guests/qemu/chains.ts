import { StillError } from '../../errors.js';
import { parseBitmapName } from './bitmap-name.js';
import { queryBlock } from './qmp/commands/block-devices.js';
import { queryNamedBlockNodes } from './qmp/commands/block-nodes.js';
import { removeBitmap, transaction } from './qmp/commands/dirty-bitmaps.js';
import type { Monitor } from './qmp/monitor.js';

/**
 * Removes the bitmaps of a chain, or of all chains, from a guest's disks, and says how many. Its next snapshot has the whole
 * disk dirty. EBUSY: a snapshot is open that uses them. QEMU refuses `loadvm` as long as there are persistent ones.
 */
export function dropChain(
  monitor: Monitor,
  chain: string | undefined,
  signal: AbortSignal,
): Promise<{ bitmaps: number }> {
  return monitor.use(
    async (connection) => {
      // First what QEMU can tell without asking a server of fleecing images, which may hang.
      const shown = await queryBlock(connection, { signal });
      if (shown.some(({ inserted }) => inserted?.name?.startsWith('stillfs-'))) throw hasSnapshot(monitor);
      const nodes = await queryNamedBlockNodes(connection, { signal });
      const dropped = nodes.flatMap(({ name: node, bitmaps }) =>
        bitmaps.flatMap(({ name, busy }) => {
          const ours = parseBitmapName(name);
          if (node === undefined || name === undefined || !ours) return [];
          if (chain !== undefined && ours.chain !== chain) return [];
          return [{ node, name, busy }];
        }),
      );
      if (dropped.some(({ busy }) => busy) || nodes.some(({ name }) => name?.startsWith('stillfs-')))
        throw hasSnapshot(monitor);
      if (dropped.length > 0) {
        const actions = dropped.map(({ node, name }) => removeBitmap({ node, name }));
        await transaction(connection, actions, { signal });
      }
      return { bitmaps: dropped.length };
    },
    { signal },
  );
}

function hasSnapshot({ guest }: Monitor): StillError {
  return new StillError('EBUSY', `${guest} has a snapshot open that may use these bitmaps; end it first`);
}

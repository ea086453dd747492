import type { LogItem } from './transactions.js';

/** Names of files that are touched by what was begun and not ended are told, so many at most. */
const mostNamed = 20;

/**
 * What was to be done in several transactions, and was not ended in the log: Linux would end it when it mounts. What only
 * concerns free space, reverse maps and counts of references has no bearing upon reading.
 */
export class Intents {
  readonly #open = new Map<string, readonly number[]>();

  /** Takes note of an item; false where it is no intent and the end of none. */
  take({ type, regions }: LogItem): boolean {
    const kind = kinds.get(type);
    const [item] = regions;
    if (!kind || !item || item.length < 16) return kind !== undefined;
    const id = item.readBigUInt64LE(8);
    const key = `${kind.name} ${id}`;
    if (kind.ends) this.#open.delete(key);
    else if (kind.inodes) this.#open.set(key, kind.inodes(item));
    return true;
  }

  /** What a person should know of it. */
  get sentence(): string | undefined {
    const inodes = [...new Set([...this.#open.values()].flat())];
    if (inodes.length === 0) return undefined;
    const named = inodes.slice(0, mostNamed).join(', ');
    const more = inodes.length > mostNamed ? ` and ${inodes.length - mostNamed} more` : '';
    return (
      'Changes of where bytes or attributes of files lie were under way, and are shown as far as they had come: ' +
      `inode ${named}${more}. Mounted by Linux, they would be ended.`
    );
  }
}

interface IntentKind {
  readonly name: string;
  /** It says that an intent was carried out. */
  readonly ends: boolean;
  /** The inodes that it is about; left out where reading does not depend on it. */
  readonly inodes?: (item: Buffer) => readonly number[];
}

const inodeAt = (item: Buffer, at: number): number[] =>
  at + 8 <= item.length ? [Number(item.readBigUInt64LE(at))] : [];

/** XFS_LI_*: of extents to free, reverse maps, counts of references, of the realtime device too; and quotas. */
const withoutBearing = [
  0x1236, 0x1237, 0x1240, 0x1241, 0x1242, 0x1243, 0x124a, 0x124b, 0x124c, 0x124d, 0x124e, 0x124f,
];
const kinds = new Map<number, IntentKind>([
  ...withoutBearing.map((type) => [type, { name: 'space', ends: false }] as const),
  // XFS_LI_BUI: struct xfs_bui_log_format, its first extent names the file
  [0x1244, { name: 'mapping', ends: false, inodes: (item) => inodeAt(item, 16) }],
  [0x1245, { name: 'mapping', ends: true }],
  // XFS_LI_ATTRI: struct xfs_attri_log_format
  [0x1246, { name: 'attribute', ends: false, inodes: (item) => inodeAt(item, 16) }],
  [0x1247, { name: 'attribute', ends: true }],
  // XFS_LI_XMI: struct xfs_xmi_log_format
  [0x1248, { name: 'exchange', ends: false, inodes: (item) => [...inodeAt(item, 16), ...inodeAt(item, 24)] }],
  [0x1249, { name: 'exchange', ends: true }],
]);

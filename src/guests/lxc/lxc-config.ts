import { messageOf, StillError } from '../../errors.js';
import type { IdRange } from '../../id-map.js';
import { type ConfigLine, readConfigLines, readText } from './config-lines.js';
import { type MountEntry, parseMountEntry } from './mount-entry.js';

/** What LXC's own configuration of a container says of its files. */
export interface LxcConfig {
  /** The root file system; undefined where nothing is said. */
  readonly rootfs: { readonly type: string; readonly path: string } | undefined;
  /** How ids are mapped; undefined for a container that has the host's ids. */
  readonly users: readonly IdRange[] | undefined;
  readonly groups: readonly IdRange[] | undefined;
  /** File systems mounted in it, in the order in which that is done. */
  readonly mounts: readonly MountEntry[];
}

const rootfsTypes = ['dir', 'btrfs', 'overlay', 'overlayfs', 'zfs', 'lvm', 'loop', 'nbd', 'rbd', 'best'];

/** Reads a container's configuration. EINVAL: a line that can't be understood, told by file, line and key. */
export async function readLxcConfig(path: string): Promise<LxcConfig> {
  return interpreted(await readConfigLines(path));
}

async function interpreted(lines: readonly ConfigLine[]): Promise<LxcConfig> {
  const last = (...keys: string[]): string | undefined =>
    lines.findLast(({ key }) => keys.includes(key))?.value || undefined;
  const rootfs = last('lxc.rootfs.path', 'lxc.rootfs');
  const source = rootfs === undefined ? undefined : rootfsSource(rootfs);
  const ids = since(lines, 'lxc.idmap', 'lxc.id_map').flatMap(idRanges);
  const of = (kind: 'u' | 'g'): IdRange[] | undefined =>
    ids.length === 0 ? undefined : ids.filter((range) => range.kind === kind).map(({ range }) => range);

  const fstab = lines.findLast(({ key }) => key === 'lxc.mount.fstab' || key === 'lxc.mount');
  const entries = [
    ...(fstab?.value ? await fstabEntries(fstab) : []),
    ...since(lines, 'lxc.mount.entry').map(({ key, value, place }) => ({ value, place: `${place}: ${key}` })),
  ];
  return {
    rootfs: source,
    users: of('u'),
    groups: of('g'),
    mounts: entries.flatMap(({ value, place }) => parseMountEntry(value, source?.path, place) ?? []),
  };
}

/** The lines of a key that may be repeated: an empty value forgets those before it. */
function since(lines: readonly ConfigLine[], ...keys: string[]): ConfigLine[] {
  const all = lines.filter(({ key }) => keys.includes(key));
  return all.slice(all.findLastIndex(({ value }) => value === '') + 1);
}

/** `TYPE:PATH`, or a path alone. */
function rootfsSource(value: string): { type: string; path: string } {
  const colon = value.indexOf(':');
  const type = value.slice(0, Math.max(colon, 0));
  return rootfsTypes.includes(type) ? { type, path: value.slice(colon + 1) } : { type: 'dir', path: value };
}

/** `u 0 100000 65536`: kind, first id inside, first id outside, how many. `b` is both. */
function idRanges({ key, value, place }: ConfigLine): Array<{ kind: 'u' | 'g'; range: IdRange }> {
  const [, kind, ...numbers] = /^([ugb])\s+(\d+)\s+(\d+)\s+(\d+)$/.exec(value) ?? [];
  const [inside = 0, outside = 0, count = 0] = numbers.map(Number);
  const largest = 2 ** 32 - 1;
  if (kind === undefined || count < 1 || inside + count > largest || outside + count > largest) {
    throw new StillError(
      'EINVAL',
      `${place}: ${key}: expected u, g or b, and the first id inside, the first outside, and how many: u 0 100000 65536; found ${JSON.stringify(value)}`,
    );
  }
  const range = { inside, outside, count };
  return (['u', 'g'] as const)
    .filter((each) => kind === each || kind === 'b')
    .map((each) => ({ kind: each, range }));
}

async function fstabEntries({
  key,
  value,
  place,
}: ConfigLine): Promise<Array<{ value: string; place: string }>> {
  let text: string;
  try {
    text = await readText(value);
  } catch (error) {
    throw new StillError('EINVAL', `${place}: ${key}: ${value} can't be read: ${messageOf(error)}`);
  }
  return text.split('\n').flatMap((line, index) => {
    const entry = line.trim();
    return entry === '' || entry.startsWith('#') ? [] : [{ value: entry, place: `${value}:${index + 1}` }];
  });
}

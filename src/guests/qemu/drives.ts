import type { BlockDevice } from './qmp/commands/block-devices.js';
import type { DirtyBitmap } from './qmp/commands/block-nodes.js';

/** A disk of a running guest, as a snapshot needs to know it. */
export interface Drive {
  /** How the hypervisor's user calls it: the drive's id, else the device's, else the block node's. */
  readonly name: string;
  /** The device in QEMU's object tree, whose `drive` property names the node at the top. */
  readonly qomPath: string;
  readonly node: string;
  readonly sizeBytes: number;
  /** QEMU's name of the format (`qcow2`, `raw`). */
  readonly format: string;
  /** As QEMU writes it: a path, or `json:…`. */
  readonly file: string;
  readonly bitmaps: readonly DirtyBitmap[];
}

/** A disk that is in no snapshot. */
export interface OmittedDrive {
  readonly name: string;
  readonly reason: string;
}

/** What of `query-block` can be in a snapshot, and why the rest can't. `wanted`: the names to be taken; all if not said. */
export function drivesOf(
  devices: readonly BlockDevice[],
  wanted?: ReadonlySet<string>,
): { drives: Drive[]; omitted: OmittedDrive[] } {
  const drives: Drive[] = [];
  const omitted: OmittedDrive[] = [];
  const taken = new Set<string>();
  for (const device of devices) {
    const { inserted, qomPath } = device;
    const name = uniqueName(device, taken);
    taken.add(name);
    const reason = reasonAgainst(device, name, wanted);
    if (reason === undefined && inserted?.name !== undefined && qomPath !== undefined) {
      drives.push({
        name,
        qomPath: absoluteQomPath(qomPath),
        node: inserted.name,
        sizeBytes: inserted.sizeBytes,
        format: inserted.driver,
        file: inserted.file,
        bitmaps: inserted.bitmaps,
      });
    } else if (reason !== undefined && inserted) omitted.push({ name, reason });
  }
  for (const name of wanted ?? []) {
    if (!taken.has(name)) omitted.push({ name, reason: 'the guest has no such disk' });
  }
  return { drives, omitted };
}

/** `query-block` names a device by its id, where it has one itself. */
export function absoluteQomPath(qomPath: string): string {
  return qomPath.startsWith('/') ? qomPath : `/machine/peripheral/${qomPath}`;
}

function reasonAgainst(
  { inserted, qomPath }: BlockDevice,
  name: string,
  wanted: ReadonlySet<string> | undefined,
): string | undefined {
  if (wanted && !wanted.has(name)) return 'not among the disks that are configured';
  if (inserted?.readOnly) return 'it is read-only';
  if (qomPath === undefined) return 'no device of the guest uses it';
  if (inserted && inserted.name === undefined) return 'its block node has no name';
  if (inserted && inserted.sizeBytes === 0) return 'it is empty';
  return undefined;
}

function uniqueName(device: BlockDevice, taken: ReadonlySet<string>): string {
  const { name, qomPath, inserted } = device;
  const [, id] = /^(?:\/machine\/peripheral\/)?([^/]+)(?:\/virtio-backend)?$/.exec(qomPath ?? '') ?? [];
  const spoken = name || id || inserted?.name || 'disk';
  // It becomes part of file names, and of names in commands.
  const plain = spoken.replace(/[^A-Za-z0-9._-]/g, '_').replace(/^[^A-Za-z0-9]+/, '') || 'disk';
  let unique = plain;
  for (let count = 2; taken.has(unique); count++) unique = `${plain}-${count}`;
  return unique;
}

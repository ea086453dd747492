import { StillError } from '../../errors.js';
import { type Name, nameFromText } from '../../name.js';

/** A file system that LXC mounts in a container: a line as fstab(5) has them. */
export interface MountEntry {
  /** A path of the host, or whatever the file system's type takes. */
  readonly source: string;
  /** Where in the container: the names that lead there. */
  readonly path: readonly Name[];
  readonly type: string;
  readonly options: readonly string[];
}

/**
 * Reads such a line. A target that is absolute lies beneath the root file system's own path; undefined for one that does
 * not, which LXC passes over too. EINVAL: the line is none; `place` (`file:line: key`) begins the message.
 */
export function parseMountEntry(
  text: string,
  rootfs: string | undefined,
  place: string,
): MountEntry | undefined {
  const [source, target, type, options] = text.trim().split(/\s+/).map(unescaped);
  if (source === undefined || target === undefined || type === undefined) {
    throw new StillError(
      'EINVAL',
      `${place}: expected SOURCE TARGET TYPE OPTIONS, found ${JSON.stringify(text)}`,
    );
  }
  const relative = target.startsWith('/') ? beneath(target, rootfs) : target;
  if (relative === undefined) return undefined;
  const names = relative.split('/').filter((name) => name !== '' && name !== '.');
  if (names.length === 0 || names.includes('..'))
    throw new StillError('EINVAL', `${place}: ${target} is no place in the container`);
  return { source, path: names.map(nameFromText), type, options: options?.split(',') ?? [] };
}

/** Whether it shows a folder of the host's in another place. */
export function isBind({ options }: MountEntry): boolean {
  return options.includes('bind') || options.includes('rbind');
}

/** EINVAL: what it shows is nowhere on the host. */
export function mustBeBind(mount: MountEntry): void {
  if (isBind(mount)) return;
  throw new StillError('EINVAL', `it is a file system of its own, ${mount.type} on ${mount.source}`);
}

function beneath(target: string, rootfs: string | undefined): string | undefined {
  if (rootfs === undefined || !target.startsWith(`${rootfs}/`)) return undefined;
  return target.slice(rootfs.length + 1);
}

/** `\040` stands for a space, and so on. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

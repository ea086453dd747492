import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { close, constants } from 'node:fs';
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { codeOf, hasCode, messageOf, StillError } from '../errors.js';
import type { IdMap } from '../id-map.js';
import { cString, systemCall } from './call.js';

// The numbers are the same on every architecture (asm-generic/unistd.h); glibc has no wrappers yet.
const SYS_OPEN_TREE = 428;
const SYS_MOUNT_SETATTR = 442;
const openTree = systemCall(
  'long syscall(long number, int folder, const void *path, unsigned int flags)',
  'open_tree',
);
const mountSetattr = systemCall(
  'long syscall(long number, int folder, const void *path, unsigned int flags, const void *attributes, size_t size)',
  'mount_setattr',
);

// linux/mount.h, linux/fcntl.h
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const AT_EMPTY_PATH = 0x1000;
const MOUNT_ATTR_IDMAP = 0x0010_0000n;
const mountAttrBytes = 32;
const itself = cString(new Uint8Array(0));
const closeDescriptor = promisify(close);

/** A folder seen through an id map, as a mount of its own that no path leads to. */
export interface IdMappedFolder {
  /** A path for this process, and for those that it starts, as long as the folder is open. */
  readonly path: string;
  close(): Promise<void>;
}

/**
 * Shows a folder with the ids of a container: whoever writes there as user 0 makes files of the user that the map has outside for 0, in
 * ACLs and capabilities too. It is an id-mapped mount (mount_setattr(2), Linux 5.12), which is gone when it is closed.
 * `folder` is a descriptor. EPERM: only root can; EOPNOTSUPP: this file system, or this kernel, can't.
 */
export async function idMappedFolder(folder: number, map: IdMap, subject: string): Promise<IdMappedFolder> {
  const namespace = await namespaceOf(map);
  try {
    const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    const mount = await openTree.later(subject, SYS_OPEN_TREE, folder, itself, flags);
    try {
      const attributes = Buffer.alloc(mountAttrBytes); // struct mount_attr: u64 set, clear, propagation, user namespace
      attributes.writeBigUInt64LE(MOUNT_ATTR_IDMAP, 0);
      attributes.writeBigUInt64LE(BigInt(namespace.fd), 24);
      await mountSetattr.later(
        subject,
        SYS_MOUNT_SETATTR,
        mount,
        itself,
        AT_EMPTY_PATH,
        attributes,
        mountAttrBytes,
      );
      return { path: `/proc/${process.pid}/fd/${mount}`, close: () => closeDescriptor(mount) };
    } catch (error) {
      await closeDescriptor(mount);
      throw error;
    }
  } catch (error) {
    throw new StillError(codeOf(error), `the ids in ${subject} can't be mapped: ${whyNot(error)}`);
  } finally {
    await namespace.close();
  }
}

function whyNot(error: unknown): string {
  if (hasCode(error, 'EPERM')) return 'only root can do that';
  if (hasCode(error, 'EINVAL') || hasCode(error, 'ENOSYS'))
    return "its file system can't (ext4 and XFS can from Linux 5.12 on, btrfs from 5.15)";
  return messageOf(error);
}

/** A user namespace with a map, for which a process has to be in it for a moment. Outside are the ids on the disk. */
async function namespaceOf(map: IdMap): Promise<FileHandle> {
  const child = spawn('unshare', ['--user', '--', 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = once(child, 'close');
  ended.catch(() => undefined);
  try {
    child.stdin.on('error', () => undefined);
    child.stdin.write('\n');
    // It answers: so it is in its namespace already.
    await Promise.race([once(child.stdout, 'data'), ended.then(refused)]);
    // To the kernel the disk's ids are those of the namespace, and what is shown are those of its parent.
    const lines = map.map(({ inside, outside, count }) => `${outside} ${inside} ${count}\n`).join('');
    for (const kind of ['uid_map', 'gid_map']) await writeFile(`/proc/${child.pid}/${kind}`, lines);
    return await open(`/proc/${child.pid}/ns/user`, constants.O_RDONLY);
  } catch (error) {
    const why = hasCode(error, 'EINVAL') ? 'its ranges overlap, or are too many' : messageOf(error);
    throw new StillError(codeOf(error), `the id map can't be used: ${why}`);
  } finally {
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
  }
}

function refused(): never {
  throw new StillError('EPERM', 'no user namespace can be made (unshare --user)');
}

/**
 * File systems whose open(2) and close(2) of a file that is in memory ask neither a disk nor a server
 * (linux/magic.h): ext2 to ext4, XFS, btrfs, tmpfs, ramfs, squashfs, EROFS, F2FS, ZFS. overlayfs is not among them:
 * what it stands upon may be anything.
 */
const localTypes = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x858458f6, 0x73717368, 0xe0f5e1e2, 0xf2f52010, 0x2fc12fc1,
]);

/** Whether a file system, by its f_type of statfs(2), is one that opens without a wait. */
export function isLocalFileSystem(type: number): boolean {
  return localTypes.has(type);
}

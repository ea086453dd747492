import { systemCall } from './call.js';

const umount2 = systemCall('int umount2(const char *target, int flags)');
const MNT_FORCE = 1;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/**
 * Ends a mount. EBUSY: it is in use; `force` ends what waits for its server and takes it out of the tree at once, and
 * what is open of it goes with its last user. EPERM: only root may.
 */
export async function unmount(mountpoint: string, force: boolean): Promise<void> {
  await umount2.later(mountpoint, mountpoint, UMOUNT_NOFOLLOW | (force ? MNT_FORCE | MNT_DETACH : 0));
}

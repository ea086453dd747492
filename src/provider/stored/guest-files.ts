/** The guest's own files that a backup has beside its disks or its root folder, where the guest has them. */
export const guestFiles: readonly string[] = ['guest.conf', 'firewall.conf'];

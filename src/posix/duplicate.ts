import { systemCall } from './call.js';

const fcntl = systemCall('int fcntl(int descriptor, int command, int argument)');
const F_DUPFD_CLOEXEC = 1030;

/** Another descriptor of the same open file, which the caller closes: what happens to the one leaves the other alone. */
export function duplicateDescriptor(descriptor: number): number {
  return fcntl.now(`descriptor ${descriptor}`, descriptor, F_DUPFD_CLOEXEC, 3);
}

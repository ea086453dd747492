import { closeSync } from 'node:fs';

/** Closes a descriptor that only names a file (O_PATH). Unlike one that was opened, it never waits for a server. */
export function closeNamed(descriptor: number): void {
  closeSync(descriptor);
}

import { messageOf, StillError } from '../../src/errors.js';
import type { MendedFuse } from './mended-fuse.js';

/** Loads the package, which is optional, and the C library behind it. ENOSYS, with what to install, where one is missing. */
export async function loadFuseNative(
  load: () => Promise<{ readonly MendedFuse: typeof MendedFuse }> = () => import('./mended-fuse.js'),
): Promise<typeof MendedFuse> {
  try {
    return (await load()).MendedFuse;
  } catch (error) {
    throw new StillError('ENOSYS', `the transport fuse-native can't be used here: ${missing(error)}`, {
      cause: error,
    });
  }
}

function missing(error: unknown): string {
  const said = messageOf(error);
  // The sentence of dlopen(3).
  if (/libfuse\.so/.test(said)) return 'libfuse 2 is missing (Debian: apt-get install libfuse2)';
  // The sentence of node-gyp-build.
  if (/no native build was found/i.test(said)) {
    return `the package has no binary for ${process.platform} on ${process.arch}; use the transport kernel`;
  }
  if (/cannot find (package|module)/i.test(said)) {
    return 'its package is missing (in the folder of stillfs: npm install fuse-native@2.2.6)';
  }
  return 'its package could not be loaded';
}

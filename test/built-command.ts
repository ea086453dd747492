import { fileURLToPath } from 'node:url';

/** The built command, for `node`: also where this file itself is the built one. */
export const builtCommand = fileURLToPath(
  new URL('dist/src/cli/stillfs.cjs', import.meta.url.replace(/(dist\/)?test\/[^/]+$/, '')),
);

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { loadFuseNative } from '../../../mount/fuse-native/package.js';

const require = createRequire(import.meta.url);

/** Has the system's loader look for a libfuse that is nowhere: its own words are what a user's machine would say. */
test('without libfuse 2 the error says what to install', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fuse-native-package-'));
  try {
    const binary = join(dirname(require.resolve('fuse-native')), 'prebuilds/linux-x64/node.napi.node');
    const bytes = (await readFile(binary)).toString('latin1').replaceAll('libfuse.so.2', 'libfuse.so.0');
    const broken = join(folder, 'broken.node');
    await writeFile(broken, Buffer.from(bytes, 'latin1'));
    const loading = loadFuseNative(async () => require(broken) as never);
    await expect(loading).rejects.toMatchObject({
      code: 'ENOSYS',
      message: expect.stringContaining('apt-get install libfuse2'),
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('without the package the error says how to get it', async () => {
  const name = 'fuse-native/there-is-no-such-file';
  const loading = loadFuseNative(async () => require(name) as never);
  await expect(loading).rejects.toMatchObject({
    message: expect.stringContaining('npm install fuse-native@2.2.6'),
  });
});

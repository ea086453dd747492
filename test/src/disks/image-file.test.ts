import { execFile } from 'node:child_process';
import { mkdtemp, open, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ImageFile } from '../../../src/disks/image-file.js';
import { StoreFolder } from '../../../src/disks/store-folder.js';
import { nameFromText } from '../../../src/name.js';

let folder: string;
let store: StoreFolder;
const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251));
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-image-'));
  await writeFile(join(folder, 'image'), content);
  // One call at a time, so that a test can hold the store's only place.
  store = await StoreFolder.open(folder, 1);
});
afterEach(async () => {
  store.close();
  await rm(folder, { recursive: true });
});

test('what the page cache has lost is read all the same', async () => {
  const path = join(folder, 'image');
  const written = await open(path);
  await written.sync();
  await written.close();
  // dd's way to POSIX_FADV_DONTNEED
  await promisify(execFile)('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
  const file = await opened();
  const bytes = Buffer.alloc(content.length + 10);
  expect(await file.read(0, bytes)).toBe(content.length);
  expect(bytes.subarray(0, content.length).equals(content)).toBe(true);
  await file.close();
});

test('a read ends where the file ends, and says so', async () => {
  const file = await opened();
  const bytes = Buffer.alloc(100);
  expect(await file.read(content.length - 30, bytes)).toBe(30);
  expect(bytes.subarray(0, 30).equals(content.subarray(-30))).toBe(true);
  expect(await file.read(content.length + 1000, bytes)).toBe(0);
  await file.close();
});

test('two names of one file are one identity, and time and size are the file`s', async () => {
  await promisify(execFile)('ln', [join(folder, 'image'), join(folder, 'other')]);
  await promisify(execFile)('touch', ['-d', '@1700000000.123456789', join(folder, 'image')]);
  const [a, b] = [await opened('image'), await opened('other')];
  expect(a.identity).toBe(b.identity);
  expect(a.modified).toEqual({ seconds: 1_700_000_000, nanoseconds: 123_456_789 });
  expect(a.size).toBe(content.length);
  await a.close();
  await b.close();
});

test('an aborted wait ends at once, while the store still works on the call before', async () => {
  const file = await opened();
  let release: () => void = () => undefined;
  const held = store.depth.run(
    () =>
      new Promise<void>((resolve) => {
        release = resolve;
      }),
  );
  const abort = new AbortController();
  const reason = new Error('the caller has left');
  const seeking = file.seek(0, 'hole', abort.signal);
  abort.abort(reason);
  await expect(seeking).rejects.toBe(reason);
  release();
  await held;
  await file.close();
});

test('closing waits for the calls that are under way, and keeps the descriptor for them until then', async () => {
  const file = await opened();
  const before = (await readdir('/proc/self/fd')).length;
  const seeking = file.seek(0, 'hole');
  const closing = file.close();
  expect(await seeking).toBe(content.length);
  await closing;
  expect((await readdir('/proc/self/fd')).length).toBe(before - 1);
  expect(() => file.readNow(0, Buffer.alloc(1))).toThrow(/closed/);
  await expect(file.seek(0, 'data')).rejects.toMatchObject({ code: 'EBADF' });
  await file.close();
});

test('a file that became shorter is told from one that is whole', async () => {
  const file = await opened();
  await file.mustBeWhole();
  await truncate(join(folder, 'image'), 5);
  await expect(file.mustBeWhole()).rejects.toMatchObject({ code: 'EIO' });
  await file.close();
});

function opened(name = 'image'): Promise<ImageFile> {
  return ImageFile.open(store, nameFromText(name));
}

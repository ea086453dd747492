import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ForeignFormat } from '../../../../src/disks/foreign/foreign-image.js';

const run = promisify(execFile);
const M = 1 << 20;

/** Images of one disk of 8 MiB with some data, by qemu-img: extension, format, and how it is made. */
export const foreignKinds: readonly {
  readonly name: string;
  readonly file: string;
  readonly format: ForeignFormat;
  readonly options: readonly string[];
}[] = [
  { name: 'vmdk', file: 'a.vmdk', format: 'vmdk', options: [] },
  {
    name: 'compressed vmdk',
    file: 'b.vmdk',
    format: 'vmdk',
    options: ['-o', 'subformat=streamOptimized'],
  },
  { name: 'vdi', file: 'a.vdi', format: 'vdi', options: [] },
  { name: 'fixed vdi', file: 'b.vdi', format: 'vdi', options: ['-o', 'static=on'] },
  { name: 'vhdx', file: 'a.vhdx', format: 'vhdx', options: [] },
  { name: 'vhd', file: 'a.vhd', format: 'vpc', options: ['-o', 'force_size=on'] },
  { name: 'fixed vhd', file: 'b.vhd', format: 'vpc', options: ['-o', 'subformat=fixed,force_size=on'] },
];

/** Writes the disk itself as `source.raw`, and an image of it of each kind. */
export async function makeForeignImages(folder: string): Promise<void> {
  const file = await open(join(folder, 'source.raw'), 'w');
  const bytes = Buffer.alloc(M + 5 * 512);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 11 + (at >> 8)) % 251;
  await file.write(bytes, 0, bytes.length, 2 * M);
  await file.write(Buffer.from('the end'), 0, 7, 8 * M - 512);
  await file.truncate(8 * M);
  await file.close();
  for (const { file: name, format, options } of foreignKinds)
    await run('qemu-img', ['convert', '-f', 'raw', '-O', format, ...options, 'source.raw', name], {
      cwd: folder,
    });
}

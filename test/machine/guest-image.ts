import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { hasCode } from '../../src/errors.js';
import { kernelModules } from './kernel-modules.js';

const run = promisify(execFile);

/** Where scripts/setup leaves the guest's packages, and where images are built once. */
const cache = resolve('dist/machine');
const sources = ['init', 'shutdown', 'guest-image.ts', 'kernel-modules.ts'].map((name) =>
  resolve('test/machine', name),
);

/** Loaded as a machine's devices need them, each with what it depends on. ext4 and NVMe are in the kernel itself. */
const modules = ['virtio_pci', 'virtio_console', 'virtio_blk', 'virtio_scsi', 'sd_mod', 'ata_piix'];

/** Paths of what QEMU boots. */
export interface GuestImage {
  readonly kernel: string;
  readonly initramfs: string;
}

/** What a test needs in its guest beyond what all of them have. */
export interface GuestAdditions {
  /** Paths of programs of this host: the guest has them in /sbin. */
  readonly programs?: readonly string[];
  /** Modules of the guest's kernel, which are loaded as it boots. */
  readonly modules?: readonly string[];
}

/**
 * A small Linux that boots in seconds under emulation: Debian's cloud kernel, busybox, the guest agent and mke2fs in
 * one initramfs. It is built where there is none yet, or where one of its packages or sources has changed.
 */
export async function guestImage(additions: GuestAdditions = {}): Promise<GuestImage> {
  const image = await plainImage();
  const { programs = [], modules: wanted = [] } = additions;
  if (programs.length === 0 && wanted.length === 0) return image;
  const hash = createHash('sha256').update(JSON.stringify([programs, wanted]));
  for (const program of programs) {
    const { size, mtimeMs } = await stat(program);
    hash.update(`${size} ${mtimeMs}\n`);
  }
  const initramfs = `${image.initramfs}-${hash.digest('hex').slice(0, 16)}`;
  if (!existsSync(initramfs)) await addTo(image.initramfs, { programs, modules: wanted }, initramfs);
  return { kernel: image.kernel, initramfs };
}

async function plainImage(): Promise<GuestImage> {
  const packages = await guestPackages();
  const hash = createHash('sha256');
  for (const path of packages) hash.update(`${path}\n`);
  for (const path of sources) hash.update(await readFile(path));
  const name = `image-${hash.digest('hex').slice(0, 16)}`;
  const folder = join(cache, name);
  const image = { kernel: join(folder, 'kernel'), initramfs: join(folder, 'initramfs') };
  if ((await readdir(cache)).includes(name)) return image;

  const built = await mkdtemp(join(cache, 'building-'));
  try {
    await build(packages, built);
    await rename(built, folder);
    await removeOld(name);
  } catch (error) {
    await rm(built, { recursive: true, force: true });
    // Another test file was faster: the same image is there.
    if (!hasCode(error, 'ENOTEMPTY') && !hasCode(error, 'EEXIST')) throw error;
  }
  return image;
}

/** Removes the images of former sources. */
async function removeOld(current: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (name.startsWith('image-') && name !== current)
      await rm(join(cache, name), { recursive: true, force: true });
  }
}

async function guestPackages(): Promise<string[]> {
  const folder = join(cache, 'packages');
  const names = await readdir(folder).catch(() => []);
  const packages = names.filter((name) => name.endsWith('.deb')).sort();
  if (packages.length === 0) {
    throw new Error(`${folder} has no packages to build the test guest from: run scripts/setup`);
  }
  return packages.map((name) => join(folder, name));
}

async function build(packages: readonly string[], target: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'stillfs-guest-image-'));
  try {
    const unpacked = join(work, 'unpacked');
    const root = join(work, 'root');
    for (const path of packages) await run('dpkg-deb', ['-x', path, unpacked]);
    const kernel = await only(join(unpacked, 'boot'), 'vmlinuz-');
    await copyFile(kernel, join(target, 'kernel'));

    for (const folder of ['bin', 'sbin', 'dev', 'proc', 'sys', 'run', 'tmp', 'etc', 'modules']) {
      await mkdir(join(root, folder), { recursive: true });
    }
    await addScript(root, 'init', 'init');
    await addScript(root, 'shutdown', 'sbin/shutdown');
    await copyFile(join(unpacked, 'bin/busybox'), join(root, 'bin/busybox'));
    await symlink('busybox', join(root, 'bin/sh'));
    await addProgram(root, join(unpacked, 'usr/sbin/qemu-ga'), 'sbin/qemu-ga');
    await addProgram(root, '/sbin/mke2fs', 'sbin/mke2fs');
    await symlink('mke2fs', join(root, 'sbin/mkfs.ext4'));
    await copyFile('/etc/mke2fs.conf', join(root, 'etc/mke2fs.conf'));
    // mke2fs and the agent look here for what is mounted.
    await symlink('/proc/self/mounts', join(root, 'etc/mtab'));
    await addModules(root, await only(join(unpacked, 'lib/modules'), ''), modules);
    await pack(root, join(target, 'initramfs'));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Writes an initramfs with more in it: the kernel unpacks archives that follow one another. */
async function addTo(
  initramfs: string,
  { programs, modules: wanted }: Required<GuestAdditions>,
  target: string,
): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'stillfs-guest-additions-'));
  try {
    const unpacked = join(work, 'unpacked');
    const root = join(work, 'root');
    for (const folder of ['sbin', 'modules']) await mkdir(join(root, folder), { recursive: true });
    for (const program of programs) await addProgram(root, program, join('sbin', basename(program)));
    for (const path of await guestPackages()) await run('dpkg-deb', ['-x', path, unpacked]);
    await addModules(root, await only(join(unpacked, 'lib/modules'), ''), wanted);
    const added = join(work, 'initramfs');
    await pack(root, added);
    const built = `${target}.building-${process.pid}`;
    await writeFile(built, Buffer.concat([await readFile(initramfs), await readFile(added)]));
    await rename(built, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Not compressed: to unpack it would take the emulated processor longer than to read it. */
async function pack(root: string, archive: string): Promise<void> {
  await run('sh', ['-c', 'find . | cpio --create --format=newc --owner=0:0 --quiet >"$0"', archive], {
    cwd: root,
  });
}

/** The only entry of a folder whose name begins so. */
async function only(folder: string, start: string): Promise<string> {
  const [name, ...others] = (await readdir(folder)).filter((entry) => entry.startsWith(start));
  if (name === undefined || others.length > 0) throw new Error(`${folder} has not one entry ${start}*`);
  return join(folder, name);
}

async function addScript(root: string, name: string, path: string): Promise<void> {
  await copyFile(resolve('test/machine', name), join(root, path));
  await chmod(join(root, path), 0o755);
}

/** A program with this host's copies of the libraries that it is linked with, at their own paths. */
async function addProgram(root: string, program: string, path: string): Promise<void> {
  await copyFile(program, join(root, path));
  const { stdout } = await run('ldd', [program]);
  for (const line of stdout.split('\n')) {
    if (line.includes('not found'))
      throw new Error(`a library of ${program} is missing here: ${line.trim()}`);
    const library = /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1];
    if (library === undefined) continue;
    await mkdir(join(root, dirname(library)), { recursive: true });
    await copyFile(library, join(root, library));
  }
}

/** The modules as NAME.ko, and beside each a file NAME that lists in which order to load what it needs. */
async function addModules(root: string, folder: string, wanted: readonly string[]): Promise<void> {
  const found = await kernelModules(folder);
  for (const name of wanted) {
    const order = await found.loadingOrder(name);
    for (const module of order) await copyFile(found.path(module), join(root, 'modules', `${module}.ko`));
    await writeFile(join(root, 'modules', name), order.map((module) => `${module}\n`).join(''));
  }
}

import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** The modules of an unpacked kernel package, which has no modules.dep yet. */
export interface KernelModules {
  /** The file of a module. */
  path(name: string): string;
  /** The module and all that it depends on, each after what it needs itself. */
  loadingOrder(name: string): Promise<string[]>;
}

/** Finds the modules below `/lib/modules/<version>`. */
export async function kernelModules(folder: string): Promise<KernelModules> {
  const paths = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true })) {
    if (entry.endsWith('.ko')) paths.set(basename(entry, '.ko'), join(folder, entry));
  }

  function path(name: string): string {
    const found = paths.get(name) ?? paths.get(name.replaceAll('_', '-'));
    if (found === undefined) throw new Error(`the kernel in ${folder} has no module ${name}`);
    return found;
  }

  async function loadingOrder(name: string): Promise<string[]> {
    const order = new Set<string>();
    for (const needed of await dependencies(path(name))) {
      for (const module of await loadingOrder(needed)) order.add(module);
    }
    return [...order.add(name)];
  }

  return { path, loadingOrder };
}

/** A module names what it needs in its section .modinfo, as NUL-ended "key=value" words: "depends=virtio,virtio_ring". */
async function dependencies(path: string): Promise<string[]> {
  const bytes = await readFile(path);
  const word = '\0depends=';
  const at = bytes.indexOf(word);
  if (at < 0) return [];
  const start = at + word.length;
  return bytes
    .toString('latin1', start, bytes.indexOf(0, start))
    .split(',')
    .filter((name) => name !== '');
}

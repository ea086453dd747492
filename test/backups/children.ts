import { readFile } from 'node:fs/promises';

/** Whether a process runs: one that has ended may wait for a parent that never asks. */
export async function runs(pid: number): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return !/^[ZX]?$/.test(text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3));
}

/** The processes that a process has started, by their names. */
export async function programsOf(pid: number): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const child of await childrenOf(pid))
    found.set((await readFile(`/proc/${child}/comm`, 'utf8').catch(() => '')).trim(), child);
  return found;
}

/** The processes that a process has started. */
export async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { ComparisonOptions, Difference } from './difference.js';

export type { ComparisonOptions, Difference } from './difference.js';

const program = new URL('../../dist/test/tree-comparison/compare.js', import.meta.url).pathname;

/**
 * Compares two trees, names as bytes: types, permissions, owners, sizes, times, hard links, devices, targets, extended
 * attributes, contents. None differ: an empty list. It runs in a process of its own (from dist/), where calls may wait
 * for a mount that the caller serves.
 */
export async function compareTrees(
  expected: string,
  actual: string,
  options: ComparisonOptions = {},
): Promise<Difference[]> {
  const child = spawn(process.execPath, [program, expected, actual, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString('utf8');
  });
  const ended = once(child, 'close');
  const differences: Difference[] = [];
  for await (const line of createInterface(child.stdout)) differences.push(JSON.parse(line));
  const [code] = await ended;
  if (code !== 0) throw new Error(`comparing ${expected} with ${actual} failed: ${complaint}`);
  return differences;
}

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type Name, nameToBytes, nameToText } from '../../name.js';
import type { Packing } from './container-archive.js';

const piece = 64 * 1024;
/** Of so many paths is it told that they are kept. */
const mostTold = 5;

/**
 * Writes the paths that are left out into a file for a program, a line each as `lineOf` has it, and gives the file's path; undefined
 * where nothing is left out. A path that can't be said to the program (`lineOf` gives undefined) is kept, and told of.
 */
export async function writeExcludeFile(
  { excluded, scratch, log }: Packing,
  lineOf: (path: Name) => Name | undefined,
): Promise<string | undefined> {
  const path = join(scratch, 'excluded');
  const file = await open(path, 'wx', 0o600);
  let lines = '';
  let isAny = false;
  let kept = 0;
  try {
    for await (const each of excluded) {
      const line = lineOf(each);
      if (line === undefined) {
        if (++kept <= mostTold)
          log.warn({ path: nameToText(each) }, `${JSON.stringify(nameToText(each))} is kept: ${why}`);
        continue;
      }
      isAny = true;
      lines += `${line}\n`;
      if (lines.length < piece) continue;
      await file.appendFile(nameToBytes(lines as Name));
      lines = '';
    }
    await file.appendFile(nameToBytes(lines as Name));
  } finally {
    await file.close();
  }
  if (kept > mostTold) log.warn({}, `${kept} paths in all are kept: ${why}`);
  return isAny ? path : undefined;
}

const why = 'its name has a newline, or ends with a space, and can not be said in a list of what is left out';

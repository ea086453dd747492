import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, messageOf, StillError } from '../../errors.js';

/** A configuration is a page of text; what is larger is something else. */
const mostBytes = 1024 * 1024;
/** How deep files may include others: a circle ends there. */
const deepest = 10;

/** A line `key = value` of a configuration of LXC's (lxc.container.conf(5)). */
export interface ConfigLine {
  readonly key: string;
  readonly value: string;
  /** `file:line`, for messages. */
  readonly place: string;
}

/** The lines of a configuration and of all that it includes, in their order. EINVAL: one that is none, with its place. */
export async function readConfigLines(path: string): Promise<ConfigLine[]> {
  return linesOf(path, await readText(path), 0);
}

async function linesOf(path: string, text: string, depth: number): Promise<ConfigLine[]> {
  const lines: ConfigLine[] = [];
  for (const [index, whole] of text.split('\n').entries()) {
    const line = whole.trim();
    if (line === '' || line.startsWith('#')) continue;
    const place = `${path}:${index + 1}`;
    const equals = line.indexOf('=');
    const key = line.slice(0, equals).trim();
    if (equals === -1 || key === '')
      throw new StillError('EINVAL', `${place}: expected KEY = VALUE, found ${JSON.stringify(line)}`);
    const value = unquoted(line.slice(equals + 1).trim());
    if (key === 'lxc.include') lines.push(...(await included(value, place, depth + 1)));
    else lines.push({ key, value, place });
  }
  return lines;
}

/** A file, or all `*.conf` files of a folder in the order of their names. */
async function included(path: string, place: string, depth: number): Promise<ConfigLine[]> {
  if (depth > deepest)
    throw new StillError('EINVAL', `${place}: lxc.include: more than ${deepest} files include one another`);
  try {
    const names = await namesIn(path);
    const files = names?.filter((name) => name.endsWith('.conf')).map((name) => join(path, name)) ?? [path];
    const lines: ConfigLine[] = [];
    for (const file of files) lines.push(...(await linesOf(file, await readText(file), depth)));
    return lines;
  } catch (error) {
    if (error instanceof StillError) throw error;
    throw new StillError('EINVAL', `${place}: lxc.include: ${path} can't be read: ${messageOf(error)}`);
  }
}

/** Undefined for what is no folder. One that is named with a `/` at its end need not be there. */
async function namesIn(path: string): Promise<string[] | undefined> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (hasCode(error, 'ENOTDIR')) return undefined;
    if (hasCode(error, 'ENOENT') && path.endsWith('/')) return [];
    throw error;
  }
}

/** Reads a small text file. EFBIG: it is none. */
export async function readText(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > mostBytes)
      throw new StillError('EFBIG', `${path} has ${size} bytes: that is no configuration of LXC's`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** LXC takes a value in single or double quotes, too. */
function unquoted(value: string): string {
  const [, , inner] = /^(["'])(.*)\1$/.exec(value) ?? [];
  return inner ?? value;
}

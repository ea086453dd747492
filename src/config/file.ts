import { readFile } from 'node:fs/promises';
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { hasCode } from '../errors.js';
import { didYouMean } from './nearest.js';
import { type FileConfig, fileSchema, keysAt } from './schema.js';

/** What is wrong with a configuration, one line each: `file:line:column: key: what was expected`. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(
    readonly problems: readonly string[],
    options?: { cause?: unknown },
  ) {
    super(problems.join('\n'), options);
  }
}

/** Reads and checks a configuration file. Throws a ConfigError. */
export async function readConfigFile(path: string): Promise<FileConfig> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const reason = hasCode(error, 'ENOENT') ? 'there is no such file' : undefined;
    throw new ConfigError([`${path}: the configuration can't be read${reason ? `: ${reason}` : ''}`], {
      cause: reason ? undefined : error,
    });
  }
  return parseConfig(text, path);
}

/** Parses and checks a configuration's text. `path` is what its errors call it. Throws a ConfigError. */
export function parseConfig(text: string, path: string): FileConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw new ConfigError(document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`));
  }
  const unreadable = unreadableParts(document).map(({ offset, why }) => `${at(offset)}: ${why}`);
  if (unreadable.length > 0) throw new ConfigError(unreadable);

  let content: unknown;
  try {
    content = document.toJS() ?? {};
  } catch (error) {
    // Aliases that multiply beyond all bounds.
    throw new ConfigError([`${path}: the configuration can't be read`], { cause: error });
  }
  const checked = fileSchema.safeParse(content, { reportInput: true });
  if (checked.success) return checked.data;
  throw new ConfigError(
    checked.error.issues.flatMap((issue) =>
      problemsOf(issue, content).map(({ key, place, expected }) => {
        const offset = offsetOf(document, place, key);
        const name = [...place, ...(key === undefined ? [] : [key])].map(String).join('.');
        return `${at(offset)}: ${name === '' ? '' : `${name}: `}${expected}`;
      }),
    ),
  );
}

/** What is well-formed and yet can't become a value: aliases of nothing, and a key that the checks would pass over. */
function unreadableParts(document: Document.Parsed): Array<{ offset: number; why: string }> {
  const found: Array<{ offset: number; why: string }> = [];
  visit(document, {
    Alias: (_, alias) => {
      if (alias.resolve(document)) return;
      found.push({
        offset: startOf(alias) ?? 0,
        why: `*${alias.source}: there is no anchor &${alias.source} before it`,
      });
    },
    Pair: (_, { key }) => {
      if (!isScalar(key) || key.value !== '__proto__') return;
      found.push({ offset: startOf(key) ?? 0, why: '__proto__: no key may be called that' });
    },
  });
  return found;
}

interface Problem {
  /** The way from the top to what is wrong. */
  readonly place: readonly PropertyKey[];
  /** Where the key itself is wrong, not its value. */
  readonly key?: string;
  readonly expected: string;
}

type Issue = z.core.$ZodIssue;

function problemsOf(issue: Issue, content: unknown): Problem[] {
  const place = issue.path;
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = keysAt(place, content);
      return issue.keys.map((key) => ({
        place,
        key,
        expected: `unknown key${didYouMean(key, known)}; known here: ${known.join(', ')}`,
      }));
    }
    case 'invalid_key': {
      const rule = issue.issues.map((each) => each.message).join(', ');
      return [{ place: place.slice(0, -1), key: String(place.at(-1)), expected: `expected ${rule}` }];
    }
    case 'invalid_type': {
      if (issue.input === undefined)
        return [{ place, expected: `is missing: expected ${article(issue.expected)}` }];
      return [{ place, expected: `expected ${article(issue.expected)}, found ${described(issue.input)}` }];
    }
    case 'invalid_value': {
      const input = typeof issue.input === 'string' ? issue.input : '';
      const values = issue.values.map(String);
      const hint = didYouMean(input, values);
      return [
        { place, expected: `expected one of ${values.join(', ')}, found ${described(issue.input)}${hint}` },
      ];
    }
    case 'too_small':
    case 'too_big': {
      const [bound, limit] =
        issue.code === 'too_small' ? ['at least', issue.minimum] : ['at most', issue.maximum];
      const expected =
        issue.origin === 'string' || issue.origin === 'array' ? 'not empty' : `${bound} ${limit}`;
      return [{ place, expected: `expected ${expected}, found ${described(issue.input)}` }];
    }
    default:
      return [{ place, expected: issue.message }];
  }
}

const typeNames: Readonly<Record<string, string>> = {
  object: 'keys with values',
  record: 'names with values',
  array: 'a list',
  string: 'text',
  boolean: 'true or false',
  number: 'a number',
  int: 'a whole number',
};

function article(type: string): string {
  return typeNames[type] ?? type;
}

function described(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'keys with values';
  return JSON.stringify(value);
}

/** Where in the text a place stands: of its key where `key` is given, else of its value, else of what holds it. */
function offsetOf(document: Document.Parsed, place: readonly PropertyKey[], key: string | undefined): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, step] of [...place, ...(key === undefined ? [] : [key])].entries()) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
      if (!pair) return offset;
      const keyOffset = startOf(pair.key) ?? offset;
      const isLastKey = key !== undefined && depth === place.length;
      offset = isLastKey || pair.value === null ? keyOffset : (startOf(pair.value) ?? keyOffset);
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = startOf(node) ?? offset;
    } else {
      return offset;
    }
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

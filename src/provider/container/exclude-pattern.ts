import { StillError } from '../../errors.js';
import { type Name, nameFromText } from '../../name.js';

/**
 * Which files of a container are left out, in rsync's manner (rsync(1), "PATTERN MATCHING RULES"), which is vzdump's too:
 * - A leading `/` binds it to the container's root; without one it may match from any folder on, whole names only.
 * - A trailing `/` matches folders alone. A folder that matches is left out with all that is in it.
 * - `*` and `?` match anything but `/`, `**` anything; `[…]` a character, with ranges and classes; `\` takes the next one as it is.
 * - `FOLDER/***` matches the folder and what is in it.
 * Without a wildcard `\` is a character like any other.
 */
export class ExcludePattern {
  private constructor(
    readonly text: string,
    private readonly expression: RegExp,
    private readonly foldersAlone: boolean,
    /** It ends with `***`: folders are looked at as if their names ended with `/`. */
    private readonly slashed: boolean,
  ) {}

  /** EINVAL: it would match nothing, or is none. */
  static parse(text: string): ExcludePattern {
    let pattern: string = nameFromText(text);
    const foldersAlone = pattern.endsWith('/');
    if (foldersAlone) pattern = pattern.slice(0, -1);
    const anchored = pattern.startsWith('/');
    if (anchored) pattern = pattern.slice(1);
    if (pattern === '' || pattern.includes('\0'))
      throw new StillError('EINVAL', `${JSON.stringify(text)} is no pattern of files to be left out`);
    const wild = /[*?[]/.test(pattern);
    const slashed = pattern.endsWith('***');
    const body = wild ? expressionOf(pattern, text) : literal(pattern);
    // What is looked at begins with a `/`, which a leading `**` may match as well.
    const begin = anchored ? '^/' : pattern.startsWith('**') ? '^' : '/';
    return new ExcludePattern(text, new RegExp(`${begin}${body}$`, 's'), foldersAlone, slashed);
  }

  /** `path` is relative to the container's root. */
  matches(path: Name, isFolder: boolean): boolean {
    if (this.foldersAlone && !isFolder) return false;
    return this.expression.test(this.slashed && isFolder ? `/${path}/` : `/${path}`);
  }
}

function expressionOf(pattern: string, text: string): string {
  let body = '';
  for (let at = 0; at < pattern.length; ) {
    const char = pattern.charAt(at);
    if (char === '*') {
      const end = at + (/^\*+/.exec(pattern.slice(at))?.[0].length ?? 1);
      body += end - at > 1 ? '.*' : '[^/]*';
      at = end;
    } else if (char === '?') {
      body += '[^/]';
      at++;
    } else if (char === '[') {
      const { expression, end } = characterSet(pattern, at, text);
      body += expression;
      at = end;
    } else {
      // A last `\` has nothing to take as it is.
      const taken = char === '\\' && at + 1 < pattern.length ? at + 1 : at;
      body += literal(pattern.charAt(taken));
      at = taken + 1;
    }
  }
  return body;
}

const classes: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`{-~',
  space: '\\t-\\r ',
  upper: 'A-Z',
  xdigit: '0-9A-Fa-f',
};

/** `[…]` from its bracket on. */
function characterSet(pattern: string, begin: number, text: string): { expression: string; end: number } {
  let at = begin + 1;
  const negated = pattern[at] === '!' || pattern[at] === '^';
  if (negated) at++;
  let set = '';
  // A bracket that comes first is one of the characters.
  for (let isFirst = true; isFirst || pattern[at] !== ']'; isFirst = false) {
    const named = /^\[:([a-z]+):\]/.exec(pattern.slice(at));
    const known = classes[named?.[1] ?? ''];
    if (named && known !== undefined) {
      set += known;
      at += named[0].length;
      continue;
    }
    const first = characterAt(pattern, at, text);
    at = first.end;
    if (pattern[at] === '-' && at + 1 < pattern.length && pattern[at + 1] !== ']') {
      const last = characterAt(pattern, at + 1, text);
      at = last.end;
      // Of a range that is upside down its first character is left.
      set += first.char <= last.char ? `${hex(first.char)}-${hex(last.char)}` : hex(first.char);
    } else {
      set += hex(first.char);
    }
  }
  return { expression: `(?!/)[${negated ? '^' : ''}${set}]`, end: at + 1 };
}

function characterAt(pattern: string, at: number, text: string): { char: string; end: number } {
  const escaped = pattern[at] === '\\' ? at + 1 : at;
  const char = pattern[escaped];
  if (char === undefined)
    throw new StillError('EINVAL', `${JSON.stringify(text)} is no pattern: a [ in it has no ]`);
  return { char, end: escaped + 1 };
}

function hex(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

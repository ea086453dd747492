import { StillError } from '../../errors.js';

export type ConfigWord = number | string;
export type ConfigValue = ConfigWord | readonly ConfigWord[];

const mostDepth = 8;
/** Sections and values of one text. A group with ten thousand volumes has some hundred thousand. */
const mostNodes = 1_000_000;

// The grammar of lvm.conf(5), in which LVM2 keeps its metadata too.
const space = /(?:\s|#[^\n]*(?:\n|$))*/y;
const key = /[A-Za-z0-9_.+/-]+|"(?:[^"\\]|\\.)*"/y;
const number = /[+-]?\d+(?:\.\d*)?(?![A-Za-z0-9_.+-])/y;
const quoted = /"((?:[^"\\]|\\.)*)"|'([^']*)'/sy;
const bare = /[A-Za-z_@][A-Za-z0-9_.+-]*/y;

/** A section: values and sections by their names, in their order. */
export class ConfigSection {
  readonly values = new Map<string, ConfigValue>();
  readonly sections = new Map<string, ConfigSection>();

  /** `path`: where it stands, for errors. */
  constructor(readonly path: string) {}

  /** A section that must be there. EIO: it is not. */
  section(name: string): ConfigSection {
    const section = this.sections.get(name);
    if (section) return section;
    throw this.#damaged(`has no section ${name}`);
  }

  /** A whole number from 0 to 2^53. EIO: it is none, or missing. */
  count(name: string): number {
    const value = this.values.get(name);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.#damaged(`has no whole number ${name}`);
  }

  text(name: string): string {
    const value = this.values.get(name);
    if (typeof value === 'string') return value;
    throw this.#damaged(`has no text ${name}`);
  }

  /** A list; one word counts as a list, a missing one is empty. */
  list(name: string): readonly ConfigWord[] {
    const value = this.values.get(name);
    if (value === undefined) return [];
    return typeof value === 'object' ? value : [value];
  }

  #damaged(what: string): StillError {
    return new StillError('EIO', `LVM metadata: ${this.path || 'the text'} ${what}`);
  }
}

/** Reads a text. EIO: it does not follow the grammar. */
export function parseConfig(text: string): ConfigSection {
  return new ConfigParser(text).parse();
}

class ConfigParser {
  readonly #text: string;
  #at = 0;
  #nodes = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): ConfigSection {
    const root = new ConfigSection('');
    this.#fill(root, 0);
    if (this.#at < this.#text.length) throw this.#unexpected();
    return root;
  }

  /** Takes what a section holds, up to what ends it. */
  #fill(section: ConfigSection, depth: number): void {
    if (depth > mostDepth) throw new StillError('EIO', 'LVM metadata: its sections are nested too deep');
    for (;;) {
      this.#take(space);
      const word = this.#take(key);
      if (word === undefined) return;
      if (++this.#nodes > mostNodes) throw new StillError('EIO', 'LVM metadata: it has too many values');
      const name = word[0].startsWith('"') ? unquoted(word[0].slice(1, -1)) : word[0];
      this.#take(space);
      if (this.#skip('{')) {
        const inner = new ConfigSection(section.path === '' ? name : `${section.path}/${name}`);
        this.#fill(inner, depth + 1);
        if (!this.#skip('}')) throw this.#unexpected();
        section.sections.set(name, inner);
      } else if (this.#skip('=')) {
        this.#take(space);
        section.values.set(name, this.#skip('[') ? this.#list() : this.#word());
      } else {
        throw this.#unexpected();
      }
    }
  }

  #list(): ConfigWord[] {
    const words: ConfigWord[] = [];
    this.#take(space);
    while (!this.#skip(']')) {
      if (++this.#nodes > mostNodes) throw new StillError('EIO', 'LVM metadata: it has too many values');
      words.push(this.#word());
      this.#take(space);
      if (this.#skip(',')) this.#take(space);
      else if (this.#text[this.#at] !== ']') throw this.#unexpected();
    }
    return words;
  }

  #word(): ConfigWord {
    const digits = this.#take(number);
    if (digits) return Number(digits[0]);
    const string = this.#take(quoted);
    if (string) return string[1] === undefined ? (string[2] ?? '') : unquoted(string[1]);
    const word = this.#take(bare);
    if (word) return word[0];
    throw this.#unexpected();
  }

  #take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (!found) return undefined;
    this.#at += found[0].length;
    return found;
  }

  #skip(mark: string): boolean {
    if (this.#text[this.#at] !== mark) return false;
    this.#at++;
    return true;
  }

  #unexpected(): StillError {
    const line = this.#text.slice(0, this.#at).split('\n').length;
    const found = JSON.stringify(this.#text.slice(this.#at, this.#at + 20));
    return new StillError('EIO', `LVM metadata: line ${line} can't be understood at ${found}`);
  }
}

function unquoted(text: string): string {
  return text.replace(/\\(.)/gs, '$1');
}

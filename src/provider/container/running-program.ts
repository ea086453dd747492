import { type ChildProcess, spawn } from 'node:child_process';
import { Readable, Writable } from 'node:stream';
import { StillError } from '../../errors.js';

const mostWords = 64 * 1024;

/** Debian's packages of the programs that containers are packed and unpacked with. */
const packageOf = {
  tar: 'tar',
  zstd: 'zstd',
  mksquashfs: 'squashfs-tools',
  unsquashfs: 'squashfs-tools',
  du: 'coreutils',
  sync: 'coreutils',
} as const;
export type Program = keyof typeof packageOf;

/** What a program is connected to: `pipe`, nothing, or a descriptor. */
export interface Connections {
  readonly input?: 'pipe';
  readonly output?: 'pipe' | number;
  /** What it has as descriptor 3. */
  readonly third?: number;
  /** Where it runs; `/` unless said. */
  readonly folder?: string;
}

/** What a program has left behind. */
export interface Ended {
  /** Its exit code, or the signal that ended it. */
  readonly status: number | string;
  /** What it wrote to standard error, a line each; not all of it where it was too much. */
  readonly words: readonly string[];
}

/** A program that runs as long as we do at most, with the C locale. */
export class RunningProgram {
  readonly ended: Promise<Ended>;
  #words = '';

  private constructor(
    readonly name: Program,
    private readonly child: ChildProcess,
  ) {
    child.stderr?.on('data', (chunk: Buffer) => {
      if (this.#words.length < mostWords) this.#words += chunk.toString('utf8').slice(0, mostWords);
    });
    this.ended = new Promise((resolve) => {
      child.on('error', (error) => resolve({ status: error.message, words: this.#lines() }));
      child.on('close', (code, signal) =>
        resolve({ status: code ?? signal ?? 'gone', words: this.#lines() }),
      );
    });
  }

  static start(
    name: Program,
    args: readonly string[],
    { input, output = 'pipe', third, folder = '/' }: Connections = {},
  ): RunningProgram {
    // It would go on with a folder that the next backup clears away.
    const child = spawn('setpriv', ['--pdeathsig=KILL', '--', name, ...args], {
      stdio: [input ?? 'ignore', output, 'pipe', ...(third === undefined ? [] : [third])],
      cwd: folder,
      env: { ...process.env, LC_ALL: 'C' },
    });
    // A program that ends early tells why by its status.
    child.stdin?.on('error', () => undefined);
    return new RunningProgram(name, child);
  }

  get input(): Writable {
    if (this.child.stdin instanceof Writable) return this.child.stdin;
    throw new Error(`${this.name} has no input`);
  }

  get output(): Readable {
    if (this.child.stdout instanceof Readable) return this.child.stdout;
    throw new Error(`${this.name} has no output`);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** Waits for its end, which must be a success. ENOSPC: there is no room; EIO: anything else, with its words. */
  async succeed(): Promise<readonly string[]> {
    const ended = await this.ended;
    if (ended.status === 0) return ended.words;
    throw failureOf(this.name, ended);
  }

  #lines(): string[] {
    return this.#words.split('\n').filter((line) => line.trim() !== '');
  }
}

/** What a program failed with, for a person. */
export function failureOf(name: Program, { status, words }: Ended): StillError {
  const said = words.join('\n');
  if (said.startsWith(`setpriv: failed to execute ${name}`))
    return new StillError('EIO', `${name} is needed for containers (Debian: apt install ${packageOf[name]})`);
  const last = words.slice(-3).join('; ') || 'it said nothing';
  if (/No space left on device|Disk quota exceeded/.test(said))
    return new StillError('ENOSPC', `there is no room left: ${last}`);
  return new StillError(
    'EIO',
    `${name} failed (${typeof status === 'number' ? `exit code ${status}` : status}): ${last}`,
  );
}

import { spawn } from 'node:child_process';

/** How a program ended. */
export interface ProgramResult {
  /** Undefined where it was ended by a signal or could not be started. */
  readonly exitCode: number | undefined;
  /** What it wrote to standard error; or why it could not be started. */
  readonly said: string;
  /** The program is not there. */
  readonly missing: boolean;
}

const mostSaid = 64 * 1024;

/**
 * Runs a program that gets one of our descriptors as its descriptor 3 (execa's types allow only small numbers there).
 * The descriptor stays ours to close.
 */
export function runWithDescriptor(
  program: string,
  args: readonly string[],
  descriptor: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe', descriptor],
      env: { ...process.env, LC_ALL: 'C', ...environment },
    });
    let said = '';
    child.stdio[2]?.on('data', (chunk: Buffer) => {
      if (said.length < mostSaid) said += chunk.toString('utf8');
    });
    child.on('error', (error) => {
      resolve({
        exitCode: undefined,
        said: error.message,
        missing: 'code' in error && error.code === 'ENOENT',
      });
    });
    child.on('close', (code) => resolve({ exitCode: code ?? undefined, said: said.trim(), missing: false }));
  });
}

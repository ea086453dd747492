import { readFile } from 'node:fs/promises';
import { CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { CommandError, ExitCode, exitCodeOf, exitCodesHelp } from '../../../src/cli/exit-code.js';
import { ConfigError } from '../../../src/config/file.js';
import { StillError } from '../../../src/errors.js';

describe('exit codes', () => {
  it('are all told of, in the same words, by --help and by the manual', async () => {
    const help = new Map(
      [...exitCodesHelp.matchAll(/^ {2}(\d+) {2}(.*)$/gm)].map(([, code, text]) => [Number(code), text]),
    );
    const page = await readFile(new URL('../../../docs/mounting.md', import.meta.url), 'utf8');
    const manual = new Map(
      [...page.matchAll(/^\| (\d+) \| (.*) \|$/gm)].map(([, code, text]) => [Number(code), text]),
    );
    expect([...help.keys()]).toEqual(Object.values(ExitCode));
    expect(manual).toEqual(help);
  });

  it.each([
    ['a mistake in the configuration', new ConfigError(['x']), ExitCode.usage],
    ['an unknown option', new CommanderError(1, 'commander.unknownOption', 'x'), ExitCode.usage],
    ['--help', new CommanderError(0, 'commander.helpDisplayed', 'x'), ExitCode.fine],
    ['what a command says', new CommandError(ExitCode.busy, 'x'), ExitCode.busy],
    ['everything else', new StillError('EIO', 'x'), ExitCode.failure],
    ['what is no error', 'x', ExitCode.failure],
  ])('%s', (_what, error, code) => {
    expect(exitCodeOf(error)).toBe(code);
  });
});

import { CommanderError } from 'commander';

/**
 * mount(8) and fstab reach a program through mount.fuse3(8), which calls it `stillfs [SOURCE] MOUNTPOINT -o OPTIONS`
 * and expects it back once the tree is mounted. The same as an ordinary command line, or undefined for a call of
 * another form. SOURCE is a store, `[NAME=]DIR`; `none` or none: those of the configuration.
 */
export function mountHelperArguments(
  args: readonly string[],
  commands: readonly string[],
): string[] | undefined {
  const [first] = args;
  if (first === undefined || first.startsWith('-') || commands.includes(first)) return undefined;
  const options = args.indexOf('-o');
  if (options !== 1 && options !== 2) return undefined;
  const source = options === 2 ? first : undefined;
  const mountpoint = args[options - 1];
  if (mountpoint === undefined || args.length !== options + 2) {
    throw new CommanderError(2, 'stillfs.mountHelper', 'expected: stillfs [SOURCE] MOUNTPOINT -o OPTIONS');
  }
  const named = source === undefined || source === 'none' || source === 'stillfs' ? [] : ['--store', source];
  return [
    'mount',
    '--background',
    ...(source === undefined ? [] : ['--source', source]),
    ...named,
    ...args.slice(options),
    '--',
    mountpoint,
  ];
}

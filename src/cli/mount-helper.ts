import { CommanderError } from 'commander';

/** What mount(8) hands on of its own options (`mount -n -s -v`) and means nothing to us. */
const ofNoEffect = new Set(['-n', '-s', '-v']);

/**
 * mount(8) and fstab reach a program through mount.fuse3(8), which calls it `stillfs [SOURCE] MOUNTPOINT -o OPTIONS`
 * and expects it back once the tree is mounted; or directly as /sbin/mount.fuse.stillfs, with `-n`, `-s`, `-v`, `-t TYPE`
 * between and behind ("External helpers" in mount(8)). The same as an ordinary command line, or undefined for a call of
 * another form. SOURCE is a store, `[NAME=]DIR`; `none` or none: those of the configuration.
 */
export function mountHelperArguments(
  args: readonly string[],
  commands: readonly string[],
): string[] | undefined {
  const [first] = args;
  if (first === undefined || first.startsWith('-') || commands.includes(first)) return undefined;
  const places = args.findIndex((arg) => arg.startsWith('-'));
  if ((places !== 1 && places !== 2) || !args.includes('-o')) return undefined;
  const source = places === 2 ? first : undefined;
  const mountpoint = args[places - 1];
  const options = optionsOf(args.slice(places));
  if (mountpoint === undefined || options === undefined) {
    throw new CommanderError(2, 'stillfs.mountHelper', 'expected: stillfs [SOURCE] MOUNTPOINT -o OPTIONS');
  }
  const named = source === undefined || source === 'none' || source === 'stillfs' ? [] : ['--store', source];
  return [
    'mount',
    '--background',
    ...(source === undefined ? [] : ['--source', source]),
    ...named,
    ...options.flatMap((option) => ['-o', option]),
    '--',
    mountpoint,
  ];
}

/** The values of `-o`; undefined where something stands among them that no mount helper is called with. */
function optionsOf(args: readonly string[]): string[] | undefined {
  const options: string[] = [];
  for (let place = 0; place < args.length; place++) {
    const arg = args[place];
    if (arg === undefined || ofNoEffect.has(arg)) continue;
    const value = args[++place];
    if ((arg !== '-o' && arg !== '-t') || value === undefined) return undefined;
    if (arg === '-o') options.push(value);
  }
  return options;
}

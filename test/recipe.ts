import { readFile } from 'node:fs/promises';
import { execa } from 'execa';

const document = new URL('../docs/recipes.md', import.meta.url);

/** The commands of a recipe in docs/recipes.md: its blocks of shell, in their order. */
export async function recipe(section: 'VM disks' | 'Containers', tool: string): Promise<string[]> {
  const text = await readFile(document, 'utf8');
  const within = text.split(/^## /m).find((part) => part.startsWith(`${section}\n`));
  const told = within?.split(/^### /m).find((part) => part.startsWith(`${tool}\n`));
  const blocks = [...(told ?? '').matchAll(/^```sh\n(.*?)^```$/gms)].map(([, commands = '']) => commands);
  if (blocks.length === 0) throw new Error(`docs/recipes.md has no recipe for ${tool} under ${section}`);
  return blocks;
}

/** What the commands of a recipe find in their environment. */
export interface RecipeFolders {
  readonly SNAPSHOT: string;
  readonly KEEP: string;
  readonly WORK: string;
  readonly DISK?: string;
}

/** Runs commands as a person who has read the recipe does; gives all that they wrote. Any that fails is a failure. */
export async function follow(
  commands: string | undefined,
  folders: RecipeFolders,
  home: string,
): Promise<string> {
  if (commands === undefined) throw new Error('the recipe has fewer steps than are followed');
  const env = {
    ...folders,
    // What borg and restic keep for themselves, and ask.
    HOME: home,
    BORG_BASE_DIR: home,
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    RESTIC_PASSWORD: 'test',
    RESTIC_CACHE_DIR: `${home}/restic`,
    LC_ALL: 'C',
  };
  const { all } = await execa('bash', ['-euo', 'pipefail', '-c', commands], {
    env,
    all: true,
    stdin: 'ignore',
  });
  return all;
}

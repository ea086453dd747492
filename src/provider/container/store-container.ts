import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StillError } from '../../errors.js';
import { type Name, nameFromText } from '../../name.js';
import type { BackupWork, StoredContent } from '../backup/backup-work.js';
import type { MountedSnapshot } from '../mounted/mounted-snapshot.js';
import { sumFile } from '../sums/sum-file.js';
import { type ContainerForm, fileOfForm, type Packing } from './container-archive.js';
import type { ExcludePattern } from './exclude-pattern.js';
import { excludedPaths } from './excluded-paths.js';
import { RunningProgram } from './running-program.js';
import { packSquashfs } from './squashfs-image.js';
import { copyToFolder, packTar } from './tar-archive.js';

/** How containers are to be stored. */
export interface ContainerWish {
  readonly form: ContainerForm;
  readonly exclude: readonly ExcludePattern[];
  /** Where other storage is mounted in a container (`/srv/data`): of these only the empty folder is kept. */
  readonly excludeMounts: readonly string[];
}

/** Stores the files of a container's snapshot, packed with its checksums or as a plain folder. */
export async function storeContainer(
  { form, exclude, excludeMounts }: ContainerWish,
  work: BackupWork,
  signal: AbortSignal,
): Promise<StoredContent> {
  const { snapshot, guest, log } = work;
  if (work.disks)
    throw new StillError('EINVAL', `guest ${guest} is a container: it has no disk ${work.disks.join(', ')}`);
  const root = snapshot.path('rootfs');
  const mountPoints = chosenMountPoints(snapshot, excludeMounts);
  for (const path of excludeMounts.filter((each) => !mountPoints.includes(each)))
    log.info({ guest }, `nothing is mounted at ${path} in guest ${guest}`);
  const emptied = new Set<Name>(mountPoints.map((path) => nameFromText(path.slice(1))));
  const file = fileOfForm[form];
  const target = join(work.folder, file);
  const live = snapshot.facts.live !== undefined;
  if (live) log.warn({ guest }, `there is no instant: ${snapshot.facts.live}`);
  const packing: Packing = {
    root,
    live,
    excluded: excludedPaths(root, { patterns: exclude, emptied }, signal),
    target,
    scratch: work.sockets,
    bandwidth: work.bandwidth,
    log,
    progress: (done) => work.progress({ part: file, done }),
  };
  packing.progress(0);
  await pack(form, packing, signal);
  const archive =
    form === 'folder'
      ? { file, storedBytes: await usedBytes(target) }
      : { file, sums: `${file}.sums`, storedBytes: (await stat(target)).blocks * 512 };
  if (form !== 'folder') await sumFile(target, signal);
  return {
    archive,
    excluded: { patterns: exclude.map(({ text }) => text), mountPoints },
    omitted: snapshot.facts.omitted,
  };
}

async function pack(form: ContainerForm, packing: Packing, signal: AbortSignal): Promise<void> {
  switch (form) {
    case 'tar.zst':
      return packTar(packing, true, signal);
    case 'tar':
      return packTar(packing, false, signal);
    case 'squashfs':
      return packSquashfs(packing, signal);
    case 'folder':
      return copyToFolder(packing, signal);
  }
}

function chosenMountPoints({ facts }: MountedSnapshot, wanted: readonly string[]): string[] {
  const known = facts.mountPoints.map(({ path }) => path).filter((path) => path !== '/');
  return known.filter((path) => wanted.includes(path));
}

/** What a folder takes up, in bytes. */
async function usedBytes(folder: string): Promise<number> {
  const du = RunningProgram.start('du', ['--summarize', '--block-size=1', folder]);
  let text = '';
  du.output.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  await du.succeed();
  return Number(/^\d+/.exec(text)?.[0] ?? 0);
}

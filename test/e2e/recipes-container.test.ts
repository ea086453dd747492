import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { follow, recipe } from '../recipe.js';
import { compareTrees } from '../tree-comparison/compare-trees.js';
import { firstId, RunningContainer } from './running-container.js';
import { output } from './served-mount.js';

const snapshot = 'nightly';
/** What keeps something from one time to the next. */
const repeated = ['rsync', 'borg', 'restic'] as const;

describe('the recipes for containers', () => {
  let container: RunningContainer;
  const rootfs = (): string => container.path(snapshot, 'rootfs');
  const folders = (tool: string) => ({
    SNAPSHOT: container.path(snapshot),
    KEEP: join(container.folder, 'keep', tool),
    WORK: join(container.folder, 'work', tool),
  });
  const following = async (tool: string, step: number): Promise<string> =>
    follow((await recipe('Containers', tool))[step], folders(tool), container.folder);
  const isToday = async (copy: string): Promise<void> =>
    expect(await compareTrees(rootfs(), copy)).toEqual([]);

  beforeAll(async () => {
    container = await RunningContainer.make();
    await container.inside(
      [
        'mkdir -p /root/files /srv/bound/data; cd /root/files; echo text >text; ln text second; ln -s text link',
        'dd if=/dev/urandom of=random bs=1k count=300; dd if=/dev/zero of=sparse bs=1 count=1 seek=3000000',
        'chown 5:6 text; chmod 4751 text; mkfifo fifo; touch -d "2001-02-03 04:05:06" text; mkdir gone; echo 1 >gone/file',
        'echo nested >/srv/nested/file; echo bound >/srv/bound/data/file; echo old >changed',
      ].join('; '),
    );
    const files = join(container.rootfs, 'root/files');
    await output('setfacl', '-m', `u:${firstId + 7}:r,g:${firstId + 8}:rw`, join(files, 'second'));
    await output('setfattr', '-n', 'user.note', '-v', 'kept', join(files, 'random'));
    await output('touch', join(files, 'r\u00e4tsel \n'));
    await output('cp', '/bin/true', join(files, 'capable'));
    await output('chown', `${firstId}:${firstId}`, join(files, 'capable'));
    await output('setcap', '-n', String(firstId), 'cap_net_raw+ep', join(files, 'capable'));
    await output('mknod', join(files, 'null'), 'c', '1', '3');
    await container.mount();
    await container.take(snapshot);
    for (const tool of ['cp', 'tar', ...repeated])
      for (const folder of [folders(tool).KEEP, folders(tool).WORK]) await mkdir(folder, { recursive: true });
    await following('rsync', 0);
    for (const tool of ['borg', 'restic']) for (const step of [0, 1]) await following(tool, step);
    await container.finish(snapshot, 'success');

    await container.inside(
      'cd /root/files; echo new >changed; echo added >added; rm -r gone; chmod 600 random',
    );
    await container.take(snapshot);
    // The container goes on.
    await container.inside('echo later >/root/files/later');
  });
  afterAll(() => container?.remove());

  it('cp', async () => {
    await following('cp', 0);
    await isToday(join(folders('cp').KEEP, 'rootfs'));
  });

  it('tar', async () => {
    await following('tar', 0);
    await following('tar', 1);
    await isToday(folders('tar').WORK);
  });

  it('rsync, a folder a day, and upon the copy of yesterday', async () => {
    const { KEEP } = folders('rsync');
    await following('rsync', 1);
    const differences = await compareTrees(rootfs(), join(KEEP, 'today'), { most: 10_000 });
    // Files that are those of the day before have its names as well.
    expect(differences.filter(({ aspect }) => aspect !== 'links')).toEqual([]);
    const same = await stat(join(KEEP, 'today/root/files/capable'));
    expect((await stat(join(KEEP, 'rootfs/root/files/capable'))).ino).toBe(same.ino);
    await output('rm', '-rf', join(KEEP, 'today'));
    await following('rsync', 0);
    await isToday(join(KEEP, 'rootfs'));
  });

  it('borg, a second time, which reads what is new and nothing else', async () => {
    const told = await following('borg', 1);
    expect(told.split('\n').sort()).toEqual([
      'A rootfs/root/files/added',
      // The newest file of a backup borg never relies on.
      'A rootfs/root/files/capable',
      'M rootfs/root/files/changed',
      'M rootfs/root/files/random',
    ]);
    await following('borg', 2);
    await isToday(join(folders('borg').WORK, 'rootfs'));
  });

  it('restic, a second time', async () => {
    await following('restic', 1);
    await following('restic', 2);
    await isToday(join(folders('restic').WORK, 'rootfs'));
  });
});

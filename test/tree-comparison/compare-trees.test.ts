import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeOddities } from '../corpus/oddities.js';
import { compareTrees } from './compare-trees.js';

const strictly = { holes: 'same', folders: 'same' } as const;
const sh = (script: string, cwd: string): unknown => execFileSync('bash', ['-euc', script], { cwd });

describe('the comparison of trees', () => {
  let work: string;
  const at = (...path: string[]): string => join(work, ...path);
  beforeAll(() => {
    work = mkdtempSync(join(tmpdir(), 'stillfs-compare-'));
  });
  afterAll(() => execFileSync('rm', ['-rf', work]));

  it('finds a folder of oddities equal to itself, and says what a copy by cp could not keep', async () => {
    mkdirSync(at('odd'));
    makeOddities(at('odd'));
    expect(await compareTrees(at('odd'), at('odd'), strictly)).toEqual([]);
    sh('mv odd/deep deep; cp -a --sparse=auto odd copy; mv deep odd/deep; touch -r copy odd', work);
    const differences = await compareTrees(at('odd'), at('copy'));
    expect(differences).toEqual([
      { path: 'deep', aspect: 'presence', expected: 'there', actual: 'not there' },
    ]);
  });

  describe('of a small tree and its copy', () => {
    beforeEach(() => {
      sh(
        `rm -rf one two; mkdir -p one/folder; cd one; echo content > file; echo x > folder/inner; ln -s file link
         ln file folder/hard; mknod fifo p; mknod null c 1 3; truncate -s 1M sparse; printf x >> sparse
         setfattr -n user.a -v b file; cp -a ../one ../two`,
        work,
      );
    });

    it('finds none', async () => expect(await compareTrees(at('one'), at('two'), strictly)).toEqual([]));

    it.each([
      ['rm folder/inner', 'folder/inner', 'presence'],
      ['touch -d @1 folder/new; touch -r ../one/folder folder', 'folder/new', 'presence'],
      ['rm link; mkdir link', 'link', 'type'],
      ['chmod 4600 file', 'file', 'permissions'],
      ['chown 5 fifo', 'fifo', 'uid'],
      ['chgrp -h 5 link', 'link', 'gid'],
      ['echo more >> file', 'file', 'size'],
      [
        'touch -d "$(stat -c %y folder/inner | sed "s/[.][0-9]*/.000000001/")" folder/inner',
        'folder/inner',
        'modified',
      ],
      ['touch -h -d @5 link', 'link', 'modified'],
      ['ln fifo fifo2', 'fifo', 'links'],
      ['cp -a file f; mv f file', 'folder/hard', 'links'],
      ['rm null; mknod null c 1 5', 'null', 'device'],
      ['ln -sfn elif link', 'link', 'target'],
      ['setfattr -n user.a -v c file', 'file', 'xattrs'],
      ['setfattr -x user.a file', 'file', 'xattrs'],
      ['setfattr -n trusted.b -v c folder', 'folder', 'xattrs'],
      ['setfacl -m u:7:r file', 'file', 'xattrs'],
      ['setfacl -d -m u:7:r folder', 'folder', 'xattrs'],
      ['setcap cap_chown+ep folder/inner', 'folder/inner', 'xattrs'],
      ['printf CON | dd of=file conv=notrunc', 'file', 'contents'],
      ['printf y | dd of=sparse bs=1 seek=1M conv=notrunc', 'sparse', 'contents'],
      ['cp --sparse=never sparse s; mv s sparse', 'sparse', 'holes'],
    ])('finds what "%s" does', async (script, path, aspect) => {
      sh(script, at('two'));
      expect(await compareTrees(at('one'), at('two'), strictly)).toContainEqual(
        expect.objectContaining({ path, aspect }),
      );
    });

    it('ends after as many differences as were asked for', async () => {
      sh('rm -rf ./*', at('two'));
      expect(await compareTrees(at('one'), at('two'), { most: 2 })).toHaveLength(2);
    });

    it('fails where there is nothing to compare with', async () => {
      await expect(compareTrees(at('none'), at('two'))).rejects.toThrow(/ENOENT/);
    });
  });
});

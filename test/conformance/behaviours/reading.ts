import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { pattern } from '../pattern.js';
import { mapsTo } from '../system-calls.js';
import { atHand, patterned, type Seen } from '../trees/bytes.js';
import { passedSize } from '../trees/passed.js';
import { type Behaviour, run, type Trial } from './behaviour.js';

const MiB = 2 ** 20;
const caches = ['keep', 'refresh', 'direct'] as const;

/** What has reached the tree of a file since it was told to begin anew. */
export async function bytesRead({ shared }: Trial, path: string): Promise<Seen> {
  return (await shared.tell('bytes', 'seen', path)) as unknown as Seen;
}

/** A file's bytes. */
export const reading: readonly Behaviour[] = [
  {
    must: 'the bytes of a file are its own, however the kernel caches it',
    async check({ shared }) {
      for (const name of caches) {
        const bytes = await readFile(shared.path('bytes', name));
        expect(bytes.equals(pattern(0, patterned[name])), name).toBe(true);
      }
    },
  },
  {
    must: 'a read across the end is short, one behind it empty',
    async check({ shared }) {
      for (const name of [...caches, 'empty'] as const) {
        const size = name === 'empty' ? 0 : patterned[name];
        const file = await open(shared.path('bytes', name));
        try {
          const bytes = Buffer.alloc(64);
          const before = Math.max(0, size - 3);
          expect((await file.read(bytes, 0, 64, before)).bytesRead, name).toBe(size - before);
          for (const offset of [size, size + 1, size + MiB, 2 ** 45]) {
            expect((await file.read(bytes, 0, 64, offset)).bytesRead, name).toBe(0);
          }
        } finally {
          await file.close();
        }
      }
    },
  },
  {
    must: 'a source that gives fewer bytes than it has is EIO, and the file keeps its size',
    async check({ shared }) {
      for (const name of ['short-keep', 'short-direct', 'short-at-hand']) {
        const path = shared.path('bytes', name);
        await expect(readFile(path), name).rejects.toMatchObject({ code: 'EIO' });
        expect((await stat(path)).size, name).toBe(name === 'short-at-hand' ? 4096 : MiB);
      }
    },
  },
  {
    must: 'several processes read at many places at once, beyond 4 GiB too',
    async check({ shared }) {
      const places = ['large-keep', 'large-direct'].flatMap((name) =>
        [0, 3, 1000, 4095, 4097, 5119].map((megabyte) => ({ name, megabyte })),
      );
      await Promise.all(
        places.map(async ({ name, megabyte }) => {
          const offset = megabyte * MiB + 12_345;
          const input = `if=${shared.path('bytes', name)}`;
          const bytes = await run(
            'dd',
            input,
            'bs=50001',
            'count=40',
            `skip=${offset}`,
            'iflag=skip_bytes',
            'status=none',
          );
          const expected = Math.min(40 * 50_001, patterned['large-keep'] - offset);
          expect(bytes.equals(pattern(offset, expected)), `${name} at ${offset}`).toBe(true);
        }),
      );
    },
  },
  {
    must: 'a read of 1 MiB reaches the tree in one piece',
    async check(trial) {
      await trial.shared.tell('bytes', 'reset');
      await run(
        'dd',
        `if=${trial.shared.path('bytes', 'direct')}`,
        'of=/dev/null',
        'bs=1M',
        'count=4',
        'status=none',
      );
      expect(await bytesRead(trial, 'direct')).toEqual({ reads: 4, bytes: 4 * MiB, largest: MiB });
    },
  },
  {
    must: 'a read with O_DIRECT gives the same bytes, and asks the tree each time',
    async check(trial) {
      const input = `if=${trial.shared.path('bytes', 'keep')}`;
      const direct = ['bs=1M', 'count=2', 'iflag=direct', 'status=none'];
      // To its end: of a part the kernel would go on to read ahead.
      await run('dd', input, 'bs=1M', 'of=/dev/null', 'status=none');
      await trial.shared.tell('bytes', 'reset');
      for (const times of [1, 2]) {
        expect((await run('dd', input, ...direct)).equals(pattern(0, 2 * MiB))).toBe(true);
        expect((await bytesRead(trial, 'keep')).bytes).toBe(times * 2 * MiB);
      }
    },
  },
  {
    must: 'a file that never changes is read from the tree once, whoever opens it again',
    async check(trial) {
      const path = trial.shared.path('bytes', 'once', 'cached');
      await trial.shared.tell('bytes', 'reset');
      for (let time = 0; time < 3; time++) {
        expect((await run('cat', path)).equals(pattern(0, MiB))).toBe(true);
        expect((await bytesRead(trial, 'once/cached')).bytes).toBe(MiB);
      }
    },
  },
  {
    must: 'small files that are at hand have their bytes, for many at once too',
    async check({ fresh }) {
      const mounted = await fresh('bytes');
      const paths = atHand.map((size) => mounted.path('at-hand', String(size)));
      const whole = Buffer.concat(atHand.map((size) => pattern(0, size)));
      const all = await Promise.all(Array.from({ length: 12 }, () => run('cat', ...paths)));
      for (const bytes of all) expect(bytes.equals(whole)).toBe(true);
    },
  },
  {
    must: 'a small file that is at hand is read from the tree once, whoever opens it again',
    async check({ fresh }) {
      const mounted = await fresh('bytes');
      const file = await open(mounted.path('at-hand', '10000'));
      try {
        expect((await file.readFile()).equals(pattern(0, 10_000))).toBe(true);
      } finally {
        await file.close();
      }
      expect((await run('cat', mounted.path('at-hand', '10000'))).equals(pattern(0, 10_000))).toBe(true);
      expect(await mounted.tell('bytes', 'seen', 'at-hand/10000')).toMatchObject({ reads: 1 });
    },
  },
  {
    must: 'a small file whose bytes the kernel has let go of is read anew',
    async check({ shared }) {
      const path = shared.path('bytes', 'at-hand', '65536');
      for (let time = 0; time < 3; time++) {
        expect((await run('cat', path)).equals(pattern(0, 65_536))).toBe(true);
        await run('dd', `if=${path}`, 'iflag=nocache', 'count=0', 'status=none');
      }
    },
  },
  {
    must: 'a file that is not to be cached is read from the tree each time',
    async check(trial) {
      const file = await open(trial.shared.path('bytes', 'direct'));
      try {
        await trial.shared.tell('bytes', 'reset');
        for (let time = 1; time <= 3; time++) {
          await file.read(Buffer.alloc(4096), 0, 4096, 0);
          expect(await bytesRead(trial, 'direct')).toEqual({
            reads: time,
            bytes: time * 4096,
            largest: 4096,
          });
        }
      } finally {
        await file.close();
      }
    },
  },
  {
    must: 'a file that the kernel may read by itself has its bytes, however many have it open',
    async check({ shared }) {
      const path = shared.path('passed', 'file');
      const whole = pattern(0, passedSize);
      const one = await open(path);
      try {
        expect((await run('cat', path)).equals(whole)).toBe(true);
        const other = await open(path);
        expect((await other.readFile()).equals(whole)).toBe(true);
        await other.close();
        expect(await mapsTo(path, whole)).toBe(true);
        expect((await one.readFile()).equals(whole)).toBe(true);
      } finally {
        await one.close();
      }
      expect((await readFile(path)).equals(whole)).toBe(true);
      await expect.poll(() => shared.tell('passed', 'seen')).toMatchObject({ opened: 0 });
    },
  },
  {
    must: 'a file that the kernel may read by itself is not read from the tree',
    hosting: 'process',
    async check({ fresh }) {
      const mounted = await fresh('passed');
      for (let time = 0; time < 3; time++) {
        expect(await readFile(mounted.path('file'))).toHaveLength(passedSize);
      }
      expect(await mounted.tell('passed', 'seen')).toMatchObject({ reads: 0 });
    },
  },
  {
    must: 'files can be mapped into memory, cached or not',
    async check({ shared }) {
      expect(await mapsTo(shared.path('bytes', 'once', 'mapped'), pattern(0, MiB))).toBe(true);
      expect(await mapsTo(shared.path('bytes', 'direct'), pattern(0, 3 * MiB + 17))).toBe(true);
    },
  },
  {
    must: 'a copy by cp, by dd and by a program of ranges (cmp) is the same',
    async check({ shared, folder }) {
      const copy = join(await folder(), 'copy');
      await run('cp', shared.path('bytes', 'keep'), copy);
      await run('cmp', copy, shared.path('bytes', 'direct'));
      await run('cmp', copy, shared.path('bytes', 'refresh'));
    },
  },
];

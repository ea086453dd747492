import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Bandwidth } from '../../../src/provider/job/bandwidth.js';
import { Hooks } from '../../../src/provider/job/hooks.js';
import { KeptNarration } from '../../../src/provider/job/narration.js';

const { signal } = new AbortController();

describe('a job', () => {
  it('is held to its bandwidth, all parts together', async () => {
    const bandwidth = new Bandwidth(1_000_000);
    const begun = performance.now();
    await Promise.all(Array.from({ length: 6 }, () => bandwidth.admit(50_000, signal)));
    // The first of them waits for nobody: a lower bound, which no busy machine breaks.
    expect(performance.now() - begun).toBeGreaterThanOrEqual(249);
    const stop = AbortSignal.abort(new Error('enough'));
    await expect(bandwidth.admit(1, stop)).rejects.toThrow();
  });

  it('ends a hook that runs when it is given up, and all that the hook has started', async () => {
    const path = join(tmpdir(), `stillfs-hook-${process.pid}`);
    const stop = new AbortController();
    const hooks = new Hooks({ 'job-start': `sleep 600 & echo $! >${path}; wait` });
    const running = hooks.mustRun('job-start', {}, stop.signal);
    await expect.poll(() => readFile(path, 'utf8').catch(() => ''), { timeout: 20_000 }).toMatch(/\n/);
    stop.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
    const pid = Number(await readFile(path, 'utf8'));
    await rm(path);
    await expect.poll(() => stateOf(pid)).toMatch(/^[ZX]?$/);
  });

  it('keeps what it tells, a line a sentence', () => {
    const told: string[] = [];
    const note = (_facts: object, sentence: string): void => void told.push(sentence);
    const kept = new KeptNarration({ info: note, warn: note });
    kept.info({}, 'one\ntwo');
    kept.warn({}, 'three');
    expect(told).toEqual(['one\ntwo', 'three']);
    expect(kept.text.replace(/^\S+Z /gm, '')).toBe('one two\nwarning: three\n');
  });
});

/** The state of a process, by a letter; nothing where there is none. */
async function stateOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3);
}

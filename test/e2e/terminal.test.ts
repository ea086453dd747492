import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { command, mountInForeground, run } from './command-line.js';
import { MountedStore } from './mounted-store.js';

/** What every change of colour begins with. */
const colour = '\x1b[';

describe('what a person sees', () => {
  let place: MountedStore;
  beforeAll(async () => {
    place = await MountedStore.make();
    await mkdir(join(place.store, '100', 'qemu-1700000000'), { recursive: true });
  });
  afterAll(() => place.remove());

  /** Runs a script with a terminal as its output, and gives what was shown. */
  const shown = async (line: string, env: Record<string, string> = {}): Promise<string> =>
    (await run('script', ['-qec', line, '/dev/null'], { TERM: 'xterm', NO_COLOR: '', ...env })).stdout;

  /** Mounts where a killed daemon was, which the log has a warning about, and ends it. */
  async function mountAfterKill(through: (line: string) => Promise<string>): Promise<string> {
    const { child, end } = await mountInForeground('--store', place.store, place.mountpoint);
    child.kill('SIGKILL');
    await end;
    const stillfs = `'${process.execPath}' '${command}'`;
    const mount = `${stillfs} mount --background --store '${place.store}' '${place.mountpoint}'`;
    const text = await through(`${mount}; ${stillfs} umount '${place.mountpoint}'`);
    expect(text).toContain('took away a mount whose server was gone');
    return text;
  }

  it('is coloured on a terminal', async () => {
    expect(await mountAfterKill((line) => shown(line))).toContain(colour);
  });

  it('has no colour where NO_COLOR says so', async () => {
    expect(await mountAfterKill((line) => shown(line, { NO_COLOR: '1' }))).not.toContain(colour);
  });

  it('is JSON, line by line, where no terminal is', async () => {
    const text = await mountAfterKill(async (line) => (await run('sh', ['-c', line])).stderr);
    expect(text).not.toContain(colour);
    expect(text.split('\n').map((line) => JSON.parse(line))).toMatchObject([
      { msg: 'took away a mount whose server was gone', mountpoint: place.mountpoint },
    ]);
  });

  it.each(['list --json', 'list', 'mount --help'])('has no colour in answers: %s', async (args) => {
    const text = await shown(`'${process.execPath}' '${command}' ${args} --store '${place.store}'`);
    expect(text).not.toContain(colour);
    expect(text.length).toBeGreaterThan(10);
  });
});

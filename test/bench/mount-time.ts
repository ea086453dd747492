import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { alternate, type Contender, seconds } from './measure.js';
import { stillfs } from './mounts.js';
import type { Row } from './report.js';

/** From the command to the first look at the tree, for stores of more and more backups. */
export async function mountTimes(folder: string, sizes: readonly number[], rounds: number): Promise<Row> {
  const contenders: Contender[] = [];
  for (const size of sizes) {
    const store = join(folder, `backups-${size}`);
    await fill(store, size);
    contenders.push({
      name: `${size} backups`,
      run: async () => {
        let stop: () => Promise<void> = async () => undefined;
        const time = await seconds(async () => {
          ({ stop } = await stillfs(store, join(folder, 'time-mount')));
        });
        await stop();
        return time;
      },
    });
  }
  return {
    title: 'mounting a store, until the tree answers',
    unit: 's',
    higherIsBetter: false,
    measured: await alternate(contenders, rounds),
  };
}

/** A store of guests with ten backups each. */
async function fill(store: string, backups: number): Promise<void> {
  for (let guest = 0; guest < backups / 10; guest++) {
    for (let backup = 0; backup < 10; backup++) {
      const path = join(store, String(100 + guest), `qemu-${1_700_000_000 + backup * 86_400}`);
      await mkdir(path, { recursive: true });
      await writeFile(join(path, 'guest.conf'), `name: guest-${guest}\n`);
    }
  }
}

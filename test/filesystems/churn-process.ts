/**
 * Churns in a folder until it is killed, and has it written to the disk now and then:
 *   churn-process.js FOLDER SEED
 * The parent is told after each turn.
 */
import { execFileSync } from 'node:child_process';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Churn } from '../corpus/churn.js';

const [folder = '', seed = '1'] = process.argv.slice(2);
const churn = new Churn(folder, Number(seed));
for (let turn = 1; process.connected; turn++) {
  churn.run(100);
  if (turn % 3 === 0) execFileSync('sync', ['-f', folder]);
  process.send?.(turn);
  await nextTurn();
}

import { execa } from 'execa';
import { seconds } from './measure.js';

/** The seconds that something takes, with nothing from before that is still to be written. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  await execa('sync');
  return seconds(work);
}

/** Brings all files of a folder onto the disk. */
export async function makeDurable(folder: string): Promise<void> {
  await execa('find', [folder, '-type', 'f', '-exec', 'sync', '{}', '+']);
}

import { systemCall } from './call.js';

const fallocate = systemCall('int fallocate(int descriptor, int mode, int64_t offset, int64_t length)');
// linux/falloc.h
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/** Frees what a range of an open file takes up, fallocate(2). On a snapshot's disk: gives the range back. Bytes. */
export async function punchHole(descriptor: number, offset: number, length: number): Promise<void> {
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  await fallocate.later(`descriptor ${descriptor}`, descriptor, mode, offset, length);
}

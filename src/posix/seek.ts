import { systemCall } from './call.js';

const lseek = systemCall('int64_t lseek(int descriptor, int64_t offset, int whence)');
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** The next data or hole of an open file at or after an offset; ENXIO past its end, or where no data follows. */
export function seek(descriptor: number, offset: number, wanted: 'data' | 'hole'): Promise<number> {
  return lseek.later(
    `descriptor ${descriptor}`,
    descriptor,
    offset,
    wanted === 'data' ? SEEK_DATA : SEEK_HOLE,
  );
}

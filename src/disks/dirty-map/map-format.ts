import type { Range } from './ranges.js';

/** How a dirty map is written: all ASCII, so a character is a byte. The ranges are joined and cover the disk. */
export interface MapFormat {
  readonly header: string;
  readonly footer: string;
  /** The row of a range, `is` telling whether it is dirty. */
  row(range: Range): string;
  /** The length of that row, without making it. */
  rowLength(range: Range): number;
}

/** What `nbdinfo --map=qemu:dirty-bitmap:NAME --json` prints (libnbd, info/map.c). */
export const nbdinfoJson: MapFormat = {
  header: '[\n',
  footer: '\n]\n',
  row({ offset, length, is }) {
    const kind = is ? '"type": 1, "description": "dirty"' : '"type": 0, "description": "clean"';
    return `${offset === 0 ? '' : ',\n'}{ "offset": ${offset}, "length": ${length}, ${kind}}`;
  },
  rowLength({ offset, length }) {
    return (offset === 0 ? 0 : 2) + 60 + decimalDigits(offset) + decimalDigits(length);
  },
};

/**
 * GNU ddrescue's mapfile (ddrescue manual, "Mapfile structure"; so since version 1.20). Dirty ranges are `+`, the
 * domain of `ddrescue --domain-mapfile`; clean ones are `?`, not tried.
 */
export const ddrescueMapfile: MapFormat = {
  header: [
    '# Mapfile. Created by stillfs, in the format of GNU ddrescue 1.20 and later',
    '# + changed since the parent, ? unchanged. To copy what has changed: ddrescue --domain-mapfile=THIS_FILE',
    '# current_pos  current_status  current_pass',
    '0x00000000     ?               1',
    '#      pos        size  status',
    '',
  ].join('\n'),
  footer: '',
  row({ offset, length, is }) {
    return `0x${hexadecimal(offset)}  0x${hexadecimal(length)}  ${is ? '+' : '?'}\n`;
  },
  rowLength({ offset, length }) {
    return 10 + hexadecimalDigits(offset) + hexadecimalDigits(length);
  },
};

function hexadecimal(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

function hexadecimalDigits(value: number): number {
  return value <= 0xffff_ffff ? 8 : value.toString(16).length;
}

function decimalDigits(value: number): number {
  return String(value).length;
}

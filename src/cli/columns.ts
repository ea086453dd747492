import { printable } from './printable.js';

/** Rows of cells as text, each column as wide as its widest cell. */
export function columns(rows: readonly (readonly string[])[]): string {
  const printed = rows.map((row) => row.map(printable));
  const widths =
    rows[0]?.map((_, column) => Math.max(...printed.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return printed.map((row) => `${line(row)}\n`).join('');
}

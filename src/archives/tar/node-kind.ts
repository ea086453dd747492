import type { FileType } from '../../tree/attributes.js';

const types: readonly FileType[] = ['file', 'directory', 'symlink', 'block', 'character', 'fifo', 'socket'];
const numbers = new Map(types.map((type, number) => [type, number]));

/** In a node's kind: its bytes can't be told. */
export const unreadableBit = 0x8000;

/** A type's number in a node's kind, from bit 12 on. */
export function typeNumber(type: FileType): number {
  return numbers.get(type) ?? 0;
}

export function kindOfNode(kind: number): FileType {
  return types[(kind >> 12) & 7] ?? 'file';
}

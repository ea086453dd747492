/** Bytes of each piece. */
export const largePieceBytes = 1024 * 1024;
const mostKept = 32;
const kept: Buffer[] = [];

/**
 * A mebibyte of memory, which holds whatever was in it before. Connections and read-ahead come and go with each snapshot: left to the
 * garbage collector, their memory would lie about for long.
 */
export function takeLargePiece(): Buffer {
  return kept.pop() ?? Buffer.allocUnsafeSlow(largePieceBytes);
}

/** Gives a piece back that nobody reads from or writes to any more. */
export function giveLargePiece(piece: Buffer): void {
  if (kept.length < mostKept) kept.push(piece);
}

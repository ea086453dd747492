import { StillError } from '../../../src/errors.js';
import type { Operation } from '../operation.js';
import { Opcode, opcodeName } from '../protocol/opcode.js';

/** What would change a mount in ways that nothing in it allows. */
const changes = [
  Opcode.SYMLINK,
  Opcode.MKNOD,
  Opcode.UNLINK,
  Opcode.RENAME,
  Opcode.RENAME2,
  Opcode.LINK,
  Opcode.SETXATTR,
  Opcode.REMOVEXATTR,
  Opcode.CREATE,
  Opcode.TMPFILE,
];

export const refusedOperations: ReadonlyArray<readonly [number, Operation]> = changes.map((opcode) => [
  opcode,
  async () => {
    throw new StillError('EROFS', `${opcodeName(opcode)}: nothing can be made, renamed or removed here`);
  },
]);

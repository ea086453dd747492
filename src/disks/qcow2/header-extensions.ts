import type { StillError } from '../../errors.js';

// docs/interop/qcow2.txt, sections "Header extensions" and "Feature name table".
const endOfExtensions = 0;
const backingFormat = 0xe2792aca;
const featureNameTable = 0x6803f857;
const featureBytes = 48; // kind, bit, a name of 46 bytes padded with NULs
const featureKinds = { incompatible: 0 } as const;
/** QEMU's own limit for the name of a format. */
const longestFormat = 15;

export interface HeaderExtensions {
  readonly backingFormat: string | undefined;
  readonly featureTable: Buffer;
}

/** Walks the extensions between the header and `end`. What is not known is optional by definition, and passed over. */
export function readExtensions(
  bytes: Buffer,
  start: number,
  end: number,
  damaged: (what: string) => StillError,
): HeaderExtensions {
  let format: string | undefined;
  let featureTable = Buffer.alloc(0);
  for (let at = start; at + 8 <= end; ) {
    const kind = bytes.readUInt32BE(at);
    const length = bytes.readUInt32BE(at + 4);
    if (kind === endOfExtensions) break;
    at += 8;
    if (length > end - at) throw damaged(`the header extension at ${at - 8} is longer than the header`);
    const content = bytes.subarray(at, at + length);
    if (kind === backingFormat) {
      if (length > longestFormat)
        throw damaged(`its backing format's name has ${length} bytes; 15 is the most`);
      format = printable(content);
    } else if (kind === featureNameTable) {
      featureTable = Buffer.from(content);
    }
    at += Math.ceil(length / 8) * 8;
  }
  return { backingFormat: format, featureTable };
}

/** The names that an image gives to feature bits of a kind. */
export function featureNames(table: Buffer, kind: keyof typeof featureKinds): Map<number, string> {
  const names = new Map<number, string>();
  for (let at = 0; at + featureBytes <= table.length; at += featureBytes) {
    if (table.readUInt8(at) !== featureKinds[kind]) continue;
    const name = printable(table.subarray(at + 2, at + featureBytes));
    if (name !== '') names.set(table.readUInt8(at + 1), name);
  }
  return names;
}

/** Text up to the first NUL, for a person: what is no plain ASCII is shown as `?`. */
function printable(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return (end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1').replace(/[^\x20-\x7e]/g, '?');
}

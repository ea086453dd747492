import { StillError } from '../../errors.js';

// [MS-FSCC] section 2.4.16: FILE_FULL_EA_INFORMATION
const headerBytes = 8;
export const mostExtendedAttributeBytes = 64 * 1024;

/** Reads the value of $EA: names are bytes. EIO: it is damaged. */
export function parseExtendedAttributes(value: Buffer, owner: number): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (let at = 0; at + headerBytes <= value.length; ) {
    const step = value.readUInt32LE(at);
    const nameLength = value.readUInt8(at + 5);
    const length = value.readUInt16LE(at + 6);
    const name = at + headerBytes;
    const from = name + nameLength + 1;
    if (from + length > value.length || (step !== 0 && step < headerBytes))
      throw new StillError('EIO', `the extended attributes of MFT record ${owner} are damaged at ${at}`);
    if (nameLength > 0)
      found.set(
        value.toString('latin1', name, name + nameLength),
        Buffer.from(value.subarray(from, from + length)),
      );
    if (step === 0) break;
    at += step;
  }
  return found;
}

/** What the Windows subsystem for Linux keeps of a file. */
export interface WslMetadata {
  readonly uid?: number;
  readonly gid?: number;
  readonly permissions?: number;
  readonly device?: { readonly major: number; readonly minor: number };
}

export function wslMetadata(attributes: ReadonlyMap<string, Buffer>): WslMetadata {
  const word = (name: string): number | undefined => {
    const value = attributes.get(name);
    return value?.length === 4 ? value.readUInt32LE(0) : undefined;
  };
  const uid = word('$LXUID');
  const gid = word('$LXGID');
  const mode = word('$LXMOD');
  const device = attributes.get('$LXDEV');
  return {
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
    ...(mode !== undefined && { permissions: mode & 0o7777 }),
    ...(device?.length === 8 && { device: { major: device.readUInt32LE(0), minor: device.readUInt32LE(4) } }),
  };
}

import { StillError } from '../../errors.js';
import { isEntryName, type Name } from '../../name.js';
import { aclOfText, type IdOfName } from './acl-text.js';
import { eachPaxRecord } from './pax.js';

/** The largest value that Linux allows (XATTR_SIZE_MAX in linux/limits.h). */
const largestValue = 65_536;

/**
 * The extended attributes and ACLs that extended headers tell of; a later header goes before an earlier one. What Linux
 * could not hold is left out, as `tar -x` would have to.
 */
export function attributesOf(headers: readonly Buffer[], idOf: IdOfName): Map<Name, Uint8Array> {
  const attributes = new Map<Name, Uint8Array>();
  // By their names as they stand in the records.
  const plain = new Map<string, Buffer>();
  const inBase64 = new Map<string, Buffer>();
  const acls = new Map<Name, Uint8Array | undefined>();
  const set = (name: string, value: Uint8Array): void => {
    const isName = isEntryName(name.replaceAll('/', '_') as Name) && name.indexOf('.') > 0;
    if (isName && value.length <= largestValue) attributes.set(name as Name, value);
  };
  const read = (key: string, value: Buffer): void => {
    if (key.startsWith('SCHILY.xattr.')) plain.set(key.slice('SCHILY.xattr.'.length), Buffer.from(value));
    else if (key.startsWith('LIBARCHIVE.xattr.')) {
      inBase64.set(key.slice('LIBARCHIVE.xattr.'.length), Buffer.from(value.toString('latin1'), 'base64'));
    } else if (key === 'RHT.security.selinux') {
      // The kernel's value has a NUL at its end, which the record's has not.
      const context = value.at(-1) === 0 ? value : Buffer.concat([value, Buffer.alloc(1)]);
      set('security.selinux', context);
    } else if (key === 'SCHILY.acl.access') {
      acls.set('system.posix_acl_access' as Name, aclOfText(value.toString('latin1'), 'access', idOf));
    } else if (key === 'SCHILY.acl.default') {
      acls.set('system.posix_acl_default' as Name, aclOfText(value.toString('latin1'), 'default', idOf));
    }
  };
  for (const header of headers) {
    try {
      eachPaxRecord(header, read);
    } catch (error) {
      // It was told when the archive was gone through.
      if (!(error instanceof StillError)) throw error;
    }
  }
  for (const [name, value] of inBase64) set(unescaped(name), value);
  // libarchive writes both records, and escapes the name in both.
  for (const [name, value] of plain) set(inBase64.has(name) ? unescaped(name) : plainKey(name), value);
  for (const [name, value] of acls) {
    if (value) attributes.set(name, value);
  }
  return attributes;
}

/** GNU tar writes `=` and `%` in names as %3D and %25, and nothing else so. */
function plainKey(key: string): string {
  return key.replace(/%3D|%25/g, (code) => (code === '%3D' ? '=' : '%'));
}

function unescaped(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

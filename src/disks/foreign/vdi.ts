import type { Disk } from '../disk.js';
import { bytesOf, type Checked, refused } from './check.js';

// VirtualBox's VDICore.h: VDIPREHEADER and VDIHEADER1, little-endian
const signature = 0xbeda107f;
const dynamic = 1;
const fixed = 2;

/** Refuses a VDI that builds on another one. */
export async function checkVdi(image: Disk, subject: string, signal?: AbortSignal): Promise<Checked> {
  const header = await bytesOf(image, 0, 512, signal);
  if (header.length < 512 || header.readUInt32LE(64) !== signature)
    throw refused(subject, 'it has no VDI header');
  const type = header.readUInt32LE(76);
  if (type !== dynamic && type !== fixed)
    throw refused(subject, `its type is ${type}, which builds on another image`);
  const linkAndParent = header.subarray(424, 456);
  if (linkAndParent.some((byte) => byte !== 0))
    throw refused(subject, 'it names another image as its parent');
  return { needsTrueEnd: false };
}

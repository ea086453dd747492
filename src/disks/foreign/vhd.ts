import type { Disk } from '../disk.js';
import { bytesOf, type Checked, refused } from './check.js';

// Virtual Hard Disk Image Format Specification 1.0, "Hard disk footer"; big-endian
const footerBytes = 512;
const cookie = 'conectix';
const fixed = 2;
const dynamic = 3;

/** Refuses a VHD that builds on another one. The footer stands at the end, and a copy at the start of a dynamic one. */
export async function checkVhd(image: Disk, subject: string, signal?: AbortSignal): Promise<Checked> {
  // QEMU rounds a file's size up to whole sectors and looks for the footer in the last one.
  const end = Math.ceil(image.size / footerBytes) * footerBytes;
  const places = [0, image.size - footerBytes, end - footerBytes];
  let found = false;
  let needsTrueEnd = true;
  for (const at of places) {
    const footer = Buffer.alloc(footerBytes);
    if (at >= 0) (await bytesOf(image, at, footerBytes, signal)).copy(footer);
    if (footer.subarray(0, 8).toString('latin1') !== cookie) continue;
    found = true;
    if (at === 0) needsTrueEnd = false;
    const type = footer.readUInt32BE(60);
    if (type !== fixed && type !== dynamic)
      throw refused(subject, `its type is ${type}, which builds on another image`);
  }
  if (!found) throw refused(subject, 'it has no VHD footer');
  return { needsTrueEnd };
}

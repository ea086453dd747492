import { unprotected } from './multi-sector.js';

// ntfs-3g's logfile.h: struct RESTART_PAGE_HEADER, struct RESTART_AREA
const magic = 0x5254_5352;
const pageHeaderBytes = 30;
const areaBytes = 24;
const volumeIsClean = 2;
const noClient = 0xffff;
export const restartPageBytes = 4096;
/** Two pages, written in turn. */
export const restartPages = 2;

/**
 * Whether the pages that $LogFile begins with say that all changes are on the disk; undefined where they say nothing: the log is empty,
 * or of a kind that is not known.
 */
export function isLogClean(bytes: Buffer): boolean | undefined {
  let latest = -1n;
  let clean: boolean | undefined;
  for (let page = 0; page < restartPages; page++) {
    const stored = bytes.subarray(page * restartPageBytes, (page + 1) * restartPageBytes);
    const area = stored.length < restartPageBytes ? undefined : restartArea(stored);
    if (!area || area.written <= latest) continue;
    latest = area.written;
    clean = area.clean;
  }
  return clean;
}

function restartArea(stored: Buffer): { readonly written: bigint; readonly clean: boolean } | undefined {
  const page = unprotected(stored, magic, () => 'a restart page of $LogFile');
  const at = page?.readUInt16LE(24) ?? 0;
  if (!page || at < pageHeaderBytes || at + areaBytes > page.length) return undefined;
  return {
    written: page.readBigInt64LE(at),
    clean: page.readUInt16LE(at + 12) === noClient || (page.readUInt16LE(at + 14) & volumeIsClean) !== 0,
  };
}

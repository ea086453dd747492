/** A range of ids: `count` of them from `outside` (as the host's files have them) are shown from `inside` on. */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** How a container's ids follow from the host's, as its `lxc.idmap` or /proc/PID/uid_map says; for users and groups alike. */
export type IdMap = readonly IdRange[];

/** How the ids of users and of groups are to be shown: as they are where there is no map. */
export interface IdMaps {
  readonly users?: IdMap | undefined;
  readonly groups?: IdMap | undefined;
}

/** What the kernel shows for an id without a mapping (/proc/sys/kernel/overflowuid). */
export const unmappedId = 65534;

/** The id inside for an id of the host; without a map they are the same. */
export function idInside(map: IdMap | undefined, outside: number): number {
  if (!map) return outside;
  for (const range of map) {
    const place = outside - range.outside;
    if (place >= 0 && place < range.count) return range.inside + place;
  }
  return unmappedId;
}

/**
 * How the ids that a container sees lie on the host: `count` ids from `inside` on are those from `outside` on, as in
 * `lxc.idmap` and /etc/subuid. The same ranges serve users and groups.
 */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

export type IdMap = readonly IdRange[];

/** What an id becomes that a map does not know: the kernel's overflow id. */
export const overflowId = 65534;

/** The id that the container sees for one of the host's. */
export function idInside(map: IdMap, outside: number): number {
  const range = map.find((row) => outside >= row.outside && outside < row.outside + row.count);
  return range ? range.inside + (outside - range.outside) : overflowId;
}

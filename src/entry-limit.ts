/**
 * The limit of an LRUCache of so many entries, for which no room is made in advance: there is one for each file system, and most are hardly
 * looked at.
 */
export function atMost(entries: number): {
  readonly maxSize: number;
  readonly sizeCalculation: () => number;
} {
  return { maxSize: entries, sizeCalculation: () => 1 };
}

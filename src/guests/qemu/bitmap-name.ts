const pattern = /^stillfs:([A-Za-z0-9][A-Za-z0-9._-]{0,62}):([0-9a-f]{32})$/;

/** What the name of a chain's bitmap says: it holds what was written since the snapshot `base` of the chain began. */
export interface ChainBitmap {
  readonly chain: string;
  /** The id of a snapshot. */
  readonly base: string;
}

export function bitmapName({ chain, base }: ChainBitmap): string {
  return `stillfs:${chain}:${base}`;
}

/** Undefined: the bitmap is not ours. */
export function parseBitmapName(name: string | undefined): ChainBitmap | undefined {
  const [, chain, base] = pattern.exec(name ?? '') ?? [];
  return chain === undefined || base === undefined ? undefined : { chain, base };
}

/** A range in pieces of at most so many bytes, ascending. */
export function pieces(
  offset: number,
  length: number,
  longest: number,
): { readonly offset: number; readonly length: number }[] {
  const result: { offset: number; length: number }[] = [];
  for (let done = 0; done < length; done += longest)
    result.push({ offset: offset + done, length: Math.min(longest, length - done) });
  return result;
}

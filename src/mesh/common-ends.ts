/** How many elements two lists have in common at their beginning and at their end: mostly all but a few, between consecutive snapshots. By identity. */
export function commonEnds(before: readonly unknown[], after: readonly unknown[]): { readonly head: number; readonly tail: number } {
  const common = Math.min(before.length, after.length);
  let head = 0;
  while (head < common && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < common - head && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail += 1;
  return { head, tail };
}

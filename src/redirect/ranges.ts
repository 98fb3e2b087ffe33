/** Inclusive ranges of ports, user ids and group ids. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** A range from text: `80`, `8000-8010` (Linkerd), `8000:8010` (iptables), or `*` for all. Undefined when it is none of these, or outside min..max. */
export function parseRange(text: string, min: number, max: number): Range | undefined {
  if (text === '*') return { from: min, to: max };
  const match = /^(\d{1,10})(?:[-:](\d{1,10}))?$/.exec(text);
  if (match === null) return undefined;
  const from = Number(match[1]);
  const to = match[2] === undefined ? from : Number(match[2]);
  return from >= min && to <= max && from <= to ? { from, to } : undefined;
}

/** The same values in the fewest ranges, ascending. */
export function mergeRanges(ranges: readonly Range[]): Range[] {
  const merged: Range[] = [];
  for (const range of [...ranges].toSorted((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last !== undefined && range.from <= last.to + 1) merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, range.to) };
    else merged.push(range);
  }
  return merged;
}

export function rangesInclude(ranges: readonly Range[], value: number): boolean {
  return ranges.some(({ from, to }) => value >= from && value <= to);
}

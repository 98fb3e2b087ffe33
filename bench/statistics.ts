/** The few statistics the measurements use. Noise is shown as the range of the rounds: with three to five rounds a standard deviation would say less. */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The value below which the share `q` (0 to 1) of the values lies, by linear interpolation. Throws on an empty list. */
export function quantile(values: readonly number[] | Float64Array, q: number): number {
  if (values.length === 0) throw new RangeError('quantile of no values');
  const sorted = Float64Array.from(values).sort();
  const position = (sorted.length - 1) * q;
  const below = Math.floor(position);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (position - below);
}

/** Median and range of the rounds of one figure. Throws on an empty list. */
export function summarize(values: readonly number[]): Summary {
  return { median: quantile(values, 0.5), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * The ratio of two figures round by round: the rounds of a run are interleaved, so what disturbs the machine for a while
 * disturbs both ends of a ratio. Rounds that only one side has are left out.
 */
export function pairedRatios(values: readonly number[], baseline: readonly number[]): number[] {
  const rounds = Math.min(values.length, baseline.length);
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    if (baseline[round]! > 0) ratios.push(values[round]! / baseline[round]!);
  }
  return ratios;
}

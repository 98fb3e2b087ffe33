/** Durations as Kubernetes and Istio write them: `10s`, `1.5s`, `250ms`, `1h30m`. */

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001, ns: 0.000_001 };

/** Milliseconds, or undefined when `text` is no duration. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|us|ns|h|m|s))+$/.test(text)) return text === '0' ? 0 : undefined;
  let total = 0;
  for (const found of text.matchAll(/(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)/g)) total += Number(found[1]) * (UNIT_MS[found[2] as string] as number);
  return total;
}

/** Milliseconds of a duration that has been validated, or `otherwise` when it is absent. */
export function durationMs(text: string | undefined, otherwise: number): number {
  return text === undefined ? otherwise : (parseDuration(text) ?? otherwise);
}

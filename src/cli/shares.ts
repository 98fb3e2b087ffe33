/** Did `count` of `requests` go where `share` (0 to 1) of them should? Within five standard deviations: false by chance once in a million runs. */
export function near(count: number, requests: number, share: number): boolean {
  return Math.abs(count - requests * share) <= 5 * Math.sqrt(requests * share * (1 - share));
}

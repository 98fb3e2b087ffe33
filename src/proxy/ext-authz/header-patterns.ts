/** Lists of header names in an extension provider: a name, `prefix-*`, `*-suffix`, or `*`. */

export type HeaderTest = (lowerName: string) => boolean;

export function headerTest(patterns: readonly string[]): HeaderTest {
  const names = new Set<string>();
  const prefixes: string[] = [];
  const suffixes: string[] = [];
  for (const pattern of patterns.map((one) => one.toLowerCase())) {
    if (pattern.endsWith('*')) prefixes.push(pattern.slice(0, -1));
    else if (pattern.startsWith('*')) suffixes.push(pattern.slice(1));
    else names.add(pattern);
  }
  return (name) => names.has(name) || prefixes.some((prefix) => name.startsWith(prefix)) || suffixes.some((suffix) => name.endsWith(suffix));
}

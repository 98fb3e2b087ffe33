/** Istio's matching of text in policies: `abc`, `abc*`, `*abc`, and `*` for anything that is not empty. */

export type TextTest = (text: string) => boolean;

/** Does one of the values match? Exact values are looked up, so that a list of thousands costs what one costs. */
export function anyValue(values: readonly string[]): TextTest {
  const exact = new Set<string>();
  const prefixes: string[] = [];
  const suffixes: string[] = [];
  let present = false;
  for (const value of values) {
    if (value === '*') present = true;
    else if (value.endsWith('*')) prefixes.push(value.slice(0, -1));
    else if (value.startsWith('*')) suffixes.push(value.slice(1));
    else exact.add(value);
  }
  if (present) return (text) => text !== '';
  if (prefixes.length + suffixes.length === 0) return (text) => exact.has(text);
  return (text) => exact.has(text) || prefixes.some((prefix) => text.startsWith(prefix)) || suffixes.some((suffix) => text.endsWith(suffix));
}

/** Regular expressions of resources: RE2 syntax, linear time, matched against the whole text (as Istio and Envoy do). */
import { RE2JS } from 're2js';
import { REGEX_CHARS_MAX } from '../core/limits.ts';

const CACHE_MAX = 4096;
const compiled = new Map<string, RE2JS>();

/** Why `pattern` is not acceptable; undefined when it is. */
export function regexFault(pattern: string): string | undefined {
  if (pattern.length > REGEX_CHARS_MAX) return `longer than ${REGEX_CHARS_MAX} characters`;
  try {
    pattern2re(pattern);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A test for a full match. Throws when the pattern is not RE2; callers have validated it. */
export function fullMatch(pattern: string): (text: string) => boolean {
  const re = pattern2re(pattern);
  return (text) => re.matches(text);
}

/** Replace every match; `\1` in `rewrite` stands for the first group, as in Envoy's RegexMatchAndSubstitute. */
export function replacer(pattern: string, rewrite: string): (text: string) => string {
  const re = pattern2re(pattern);
  const replacement = rewrite.replaceAll('$', String.raw`\$`).replaceAll(/\\(\d)/g, '$$$1');
  return (text) => re.matcher(text).replaceAll(replacement);
}

function pattern2re(pattern: string): RE2JS {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  const made = RE2JS.compile(pattern);
  if (compiled.size >= CACHE_MAX) compiled.clear();
  compiled.set(pattern, made);
  return made;
}

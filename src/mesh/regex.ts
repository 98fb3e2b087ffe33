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

/**
 * Replace every match. In `rewrite`, `\1` to `\9` stand for groups, `\0` for the whole match and `\\` for a backslash, as in
 * Envoy's RegexMatchAndSubstitute; everything else is literal (re2js' own replacement strings know other signs).
 */
export function replacer(pattern: string, rewrite: string): (text: string) => string {
  const re = pattern2re(pattern);
  const parts = (rewrite.match(/\\[\d\\]|[^\\]+|\\/g) ?? []).map((part) => (/^\\\d$/.test(part) ? Number(part[1]) : part === String.raw`\\` ? '\\' : part));
  return (text) => {
    const matcher = re.matcher(text);
    let replaced = '';
    let at = 0;
    let lastEnd = -1;
    while (matcher.find()) {
      // RE2 takes no empty match at the end of the one before.
      if (matcher.start() === matcher.end() && matcher.start() === lastEnd) continue;
      replaced += text.slice(at, matcher.start());
      for (const part of parts) replaced += typeof part === 'string' ? part : part > matcher.groupCount() ? '' : (matcher.group(part) ?? '');
      at = matcher.end();
      lastEnd = at;
    }
    return replaced + text.slice(at);
  };
}

function pattern2re(pattern: string): RE2JS {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  const made = RE2JS.compile(pattern);
  if (compiled.size >= CACHE_MAX) compiled.clear();
  compiled.set(pattern, made);
  return made;
}
